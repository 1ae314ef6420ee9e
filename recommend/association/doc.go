// Package association answers which items go together: within five minutes
// (the association job), and over weeks (neighbours).
//
// # The association job
//
// This is the "Item Association Analysis Job" of the product's seeds. Keyed
// by user, in tumbling windows of five minutes of event time, the items of a
// user are counted, impressions left out. For each pair of different items of
// a window where A was first seen before B, the job adds count(A) x count(B)
// to the association of A with B; summed over users it emits, at the end of
// each window, (window_start, A, B, association).
//
// First seen is by the least event time of the item in the window; of items
// first seen at the same moment the one with the smaller id comes first. An
// event whose window has closed goes to the port "late". A user's window
// counts the first 100 distinct items that arrive (Options.Items); events of
// further ones are left out, so that a crawler cannot cause quadratic work.
//
// The view keeps, for each A, the strongest 20 of its B: by the sum of
// associations over the 12 latest windows in which A led any pair, ties by
// id. Of each window the 100 strongest B of an A count there
// (Options.Partners). The port "associations" has all of them.
//
//	stage "association.windows"  user  counts, emits Led on "led"; port "late"
//	stage "association"          item  sums, emits Association on "associations"
//	view  "associations"         item  the strongest B (Associations)
//
// Windows are in event time only. The seeds' switch to processing time needs
// timers in processing time, which the operator contract does not have.
//
// Sums over users are integers and saturate, so they commute. A window's sums
// arrive when the users' windows end and are closed by a timer of the same
// moment, so they take memory only in between: 16 bytes for each different B,
// at most doubled. Of closed windows an item keeps at most
// Windows x Partners = 1,200 sums of 16 bytes.
//
// # Neighbours
//
// Two items are neighbours to the degree that users turn to one soon after
// the other, in either direction. When a user turns to an item e, it makes a
// pair with each of the user's last 10 distinct items q, of weight 1/d at
// distance d (1 for the one just before e), which counts in the row of e and
// in that of q. Events of no or negative weight leave no trace; an item that
// comes twice in a row makes no pairs, one that comes back moves to the end
// of the trail. Weights halve in 30 days. Package pairs describes the sums,
// their decay, why they commute, and their bounds.
//
// The score of a neighbour is its part of the weight of all pairs of the
// item: a number above 0 and at most 1. With the totals of both rows a reader
// gets the cosine: weight / sqrt(total(a) · total(b)).
//
//	stage "cooccurrence"  user  keeps the trail, emits pairs
//	stage "neighbors"     item  keeps the partners of the item
//	view  "neighbors"     item  its top 100 neighbours (pairs.Partners)
package association
