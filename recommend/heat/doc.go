// Package heat is what is popular: the heat index of items and the trending
// lists, overall, by category and by cohort.
//
// The heat of an item is the sum of the weights of its events, each decayed
// by its age, at several half-lives (see package decay). Events of weight 0
// or less do not count: an impression is nobody's interest, and with positive
// weights only, heat in growing weights never falls, which the trending lists
// rest on. Heat is kept overall and for the user's cohort as known at the
// time of the event: the age band, the gender, and both together.
//
// # Stages
//
//	impulses   by user   makes an impulse of an event (no state)
//	heat       by item   sums impulses; view "heat"; emits an item's new heat
//	trending   by scope  the hottest items of a scope; view "trending"
//
// Impulses of one item and cohort are merged before they cross the exchange,
// so a hot item costs one record a shard and block. Scopes are "all",
// "category:NAME" and "cohort:NAME" (CohortScopes). An item's categories are
// those that it had at its latest event: after a change it stays in the list
// of its old category until it has cooled down, and whoever shows the list
// passes over it.
//
// # Order
//
// Sums commute (decay.Sum). A trending list keeps the Options.Kept hottest
// items that it was told of, by the largest heat of each (ties by id). Heat
// never falls, so an item that was left out comes back, with its heat of that
// moment, if ever it belongs there, and what is left is the Kept hottest of
// all items by their latest heat, whatever the order of arrival: the list is
// the top of a set of maxima.
//
// Memory: a scope keeps at most 4 times Kept items; an item keeps 40 bytes for
// each of 4 half-lives and each of its scopes (at most 1 + 3 a cohort).
package heat
