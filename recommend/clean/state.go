package clean

import "millrace/event"

// digest stands for an event id.
type digest [2]uint64

// id is a remembered event id. It is one as long as the watermark is below
// until.
type id struct {
	digest digest
	until  event.Time
}

// state is what is known of one user: the ids of the last day, in the order
// in which they were accepted.
type state struct {
	ids []id
	// index finds a digest in ids once there are more than scanned of them:
	// a table with open addressing, of positions in ids plus one, 0 where
	// free. At least a quarter of its places, a power of two, are free.
	index []uint32
}

// scanned is how many ids are looked through one by one. Most users never
// have more in a day.
const scanned = 16

// remember takes an id up and reports true, or reports false if it is known
// and the watermark has not reached its end.
func (s *state) remember(d digest, watermark, until event.Time) bool {
	if at := s.find(d); at >= 0 {
		if watermark < s.ids[at].until {
			return false
		}
		s.ids[at].until = until
		return true
	}
	s.ids = append(s.ids, id{d, until})
	if n := len(s.ids); n > scanned {
		if 4*n > 3*len(s.index) {
			s.reindex()
		} else {
			s.place(n - 1)
		}
	}
	return true
}

// find is the position of a digest in ids, -1 if it is not there.
func (s *state) find(d digest) int {
	if s.index == nil {
		for i := range s.ids {
			if s.ids[i].digest == d {
				return i
			}
		}
		return -1
	}
	mask := uint64(len(s.index) - 1)
	for at := d[0] & mask; s.index[at] != 0; at = (at + 1) & mask {
		if i := int(s.index[at] - 1); s.ids[i].digest == d {
			return i
		}
	}
	return -1
}

// place puts the id at a position of ids into the index.
func (s *state) place(i int) {
	mask := uint64(len(s.index) - 1)
	at := s.ids[i].digest[0] & mask
	for s.index[at] != 0 {
		at = (at + 1) & mask
	}
	s.index[at] = uint32(i + 1)
}

// reindex makes the index anew, with room for the ids to double.
func (s *state) reindex() {
	s.index = nil
	if len(s.ids) <= scanned {
		return
	}
	size := 4 * scanned
	for size < 2*len(s.ids) {
		size *= 2
	}
	s.index = make([]uint32, size)
	for i := range s.ids {
		s.place(i)
	}
}

// prune drops the ids that have run out when the watermark is at a time. It
// reports the first end of those that are left.
func (s *state) prune(at event.Time) (next event.Time, left bool) {
	next = event.MaxTime
	kept := s.ids[:0]
	for _, id := range s.ids {
		if id.until > at {
			kept = append(kept, id)
			next = min(next, id.until)
		}
	}
	if len(kept) < len(s.ids) {
		s.ids = kept
		s.reindex()
	}
	if cap(s.ids) > 4*len(s.ids) {
		s.ids = append(make([]id, 0, len(s.ids)), s.ids...)
	}
	return next, len(s.ids) > 0
}
