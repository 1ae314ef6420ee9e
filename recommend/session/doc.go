// Package session divides each user's events into sessions in event time:
// session windows with a gap of 30 minutes, exactly as Apache Flink's
// EventTimeSessionWindows define them. It is chained to clean and keyed by user.
//
//   - An event at ts is a window [ts, ts+gap). Windows of a user that overlap
//     or touch are one session: two events that are exactly the gap apart are
//     in the same one. A session's start is its first event's time, last its
//     last one's, end is last + gap, its length is last - start.
//   - Events come out of order, so a user can have several open sessions, and
//     an event between two of them can join them.
//   - A session closes when the watermark reaches its last millisecond,
//     end - 1. It is then emitted on the port "sessions", with that time.
//   - An event is late if its window touches no open session and the
//     watermark in front of it has reached ts + gap - 1. It changes nothing
//     here and is emitted on the port "late", with its own time. (An event
//     that is older than that but touches an open session belongs to it, as
//     in Flink, where lateness is a matter of the merged window.)
//
// Every event prolongs a session and counts in it. Its items are those of
// events other than impressions, each once, the one met last first; of more
// than Options.Items the newest.
package session
