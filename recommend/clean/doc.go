// Package clean drops repeats: the first stage that an event passes, keyed by
// user, so that whatever a client or an importer sends twice counts once.
//
// An event that carries an event_id is a repeat when the same user sent an
// event with that id within 24 hours of stream time. What that means is fixed
// here, so that it is the same in every engine, for every block boundary and
// in every replay:
//
//   - An accepted event counts at its effective time: its own time or, if it
//     came late, the first moment that its watermark had not passed
//     (operator.Meta.Effective). A client that sends last year's events
//     again is therefore protected too: what matters is when an event came
//     in, in stream time, not when it happened.
//   - Its id is remembered until the watermark reaches that effective time
//     plus Options.Remember. A later event of the user with the same id is a
//     repeat if the watermark in front of it, which travels with every
//     record, is still below that moment, and is accepted, and remembered
//     anew, if not.
//   - A repeat does not prolong the memory, whatever else it contains does
//     not matter, and it is reported on the port "duplicates". Events without
//     an id are never repeats.
//
// An id is kept as the first 128 bits of its SHA-256, so that an id of 256
// bytes costs no more than one of 8, and nobody can make up two ids that are
// taken for one. An event-time timer for each user, at full hours, drops what
// has run out, so the state of a user is what that user sent in 24 hours and
// at most one more hour; a user who sent no ids has no state.
package clean
