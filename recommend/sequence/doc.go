// Package sequence answers what users turn to after an item.
//
// When a user turns to item e, each of the user's last Options.Items distinct
// items q (five by default), at distance d (1 for the one just before e), is
// followed by e with weight 1/d, if the event of e is not of an earlier time
// than that of q and at most 24 hours later. Events of no or negative weight
// (impressions, dislikes) are no steps; the same item twice in a row is one
// step; an item that the user comes back to moves to the end of the trail. The
// order is that in which the events came, so of two events out of order the
// pair that would point backwards in time counts nothing.
//
// Summed over users with a half-life of 30 days these are sequential rules
// (Ludewig and Jannach, "Evaluation of Session-based Recommendation
// Algorithms", UMUAI 2018, section 3.2.3) that forget. Package pairs
// describes the sums, their decay, why they commute, and their bounds.
//
//	stage "steps"     user   keeps the trail, emits pairs
//	stage "sequence"  item   keeps the followers of the item
//	view  "sequence"  item   its top 50 followers (pairs.Partners)
package sequence
