// Package activity keeps what each user did lately: the seeds' "User Browse
// Count Job" and "latest rating" job, and the recent and seen items that
// recommendations start from. It is chained to clean and keyed by user.
//
//   - The browse count is how many events other than impressions the user
//     caused, ever. Besides it every event is counted by its type,
//     impressions too.
//   - Recent items are the user's newest Options.Recent interactions, events
//     other than impressions, by event time, newest first; of two with one
//     time the one that arrived later is newer. An item can be there several
//     times. An event that came out of order is put into its place.
//   - Seen items are all items that the user interacted with, each once, in
//     the order in which they were first seen. Of more than Options.Seen
//     items the newest of that order are kept, and a dropped item that is met
//     again is new. A candidate is tested against them in constant time.
//   - Last seen is the largest event time of the user, of any type.
//   - The latest rating: ratings with a value fall into tumbling event-time
//     windows of Options.RatingWindow, aligned to the Unix epoch. When the
//     watermark has passed a window's last millisecond, the user's rating
//     with the largest event time in it is emitted on the port "ratings", of
//     two with one time the one that arrived later, with the window's last
//     millisecond as its time, as Flink does. The view keeps the last that
//     was emitted. A rating whose window the watermark had already passed is
//     emitted on the port "late" instead, with its own time, and counts in
//     everything else.
//
// Records arrive in the order of the source, for each user, so "later" is the
// same in every engine.
package activity
