// Package profile keeps what each user is like: interests per category,
// behaviour patterns, and views and purchases per category. It is chained to
// clean and keyed by user.
//
//   - Interests, as the same job on Apache Flink computes them (flink_test.go):
//     an event with an item of category c makes interest[c] the sum of
//     (1-alpha)*interest[c] and alpha*w, an exponential moving average with
//     alpha 0.1, whose two products are each rounded to a double before they
//     are added. w is the weight of the event (event.Types): 0.1 for a view,
//     0.3 for a click, 0.5 for a like, 1 for a purchase, by the value for a
//     rating, negative for a dislike, which so lowers the interest. Each
//     category of the item counts, and those of an item without any are none.
//     Events count in the order of the source, also those that come late.
//   - At most Options.Categories categories are kept: a new one takes the
//     place of the one with the lowest interest, of two such the one whose
//     name sorts last.
//   - Top interests are the Options.Top highest that are above zero, by
//     interest, then by name.
//   - Behaviour patterns are counts: of events by type, by part of the day in
//     UTC (night 0-6, morning 6-12, afternoon 12-18, evening 18-24 o'clock)
//     and on weekends, and of ratings and their sum. What people want to
//     know is made of them when the view is read: shares, the most active part
//     of the day, the average rating, purchases per view.
//   - An event of a type of weight 0, such as an impression, changes nothing.
//     Last updated is the largest time of the events that did.
package profile
