package embedded

import "millrace/event"

// userSet remembers which users SQL has been told of, as 8-byte hashes, so
// that each is told once a run and not once an event. Two ids with one hash
// cost the second its empty row in SQL, with odds of n*n/2^65; nothing that
// is computed depends on it.
type userSet map[uint64]struct{}

func newUserSet() userSet { return userSet{} }

// add reports whether the user is new to the set.
func (s userSet) add(id string) bool {
	before := len(s)
	s[event.HashID(id)] = struct{}{}
	return len(s) > before
}

func (s userSet) remove(id string) { delete(s, event.HashID(id)) }
