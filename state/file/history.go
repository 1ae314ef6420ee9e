package file

// entry is one point of a history and its files.
type entry struct {
	point
	names [2]string // delta and full snapshot, empty if there is none
	bytes [2]int64
	alone bool // the delta has no parent: it is a full snapshot too
}

// based says whether the point can be restored without any before it.
func (e *entry) based() bool { return e.alone || e.names[1] != "" }

// history is the points that lead to the latest one, the oldest first. Each
// but the first has a delta from the one before it.
type history []entry

// fileBytes is what a file counts besides its size: a thousand deltas of a
// hundred bytes take longer to read than one of a hundred thousand.
const fileBytes = 16 << 10

// growth is how large the latest full snapshot is, and how large all deltas
// after it.
func (h history) growth() (full, deltas int64) {
	for i := len(h) - 1; i >= 0; i-- {
		e := &h[i]
		switch {
		case e.names[1] != "":
			return e.bytes[1] + fileBytes, deltas
		case e.alone:
			return e.bytes[0] + fileBytes, deltas
		}
		deltas += e.bytes[0] + fileBytes
	}
	return 0, deltas
}

// needed is the part of a history that is kept, so that the states of the
// newest n blocks can be restored and, where that is more than one, each file
// may be damaged and something can be restored: two full snapshots at least.
func (h history) needed(n int) history {
	blocks, full := 0, 0
	for i := len(h) - 1; i >= 0; i-- {
		if i == len(h)-1 || h[i].block != h[i+1].block {
			blocks++
		}
		if !h[i].based() {
			continue
		}
		full++
		if blocks >= n && (n == 1 || full > 1) {
			return h[i:]
		}
	}
	return h
}

// files are the names of the files that are needed.
func (h history) files() map[string]bool {
	keep := map[string]bool{}
	for i := range h {
		for _, name := range h[i].names {
			if name != "" {
				keep[name] = true
			}
		}
	}
	return keep
}

// forgetDelta makes the first point of a history one that is restored from its
// full snapshot only, if it has one.
func (h history) forgetDelta() {
	if len(h) > 0 && h[0].names[1] != "" {
		h[0].names[0], h[0].bytes[0], h[0].alone = "", 0, false
	}
}
