package window

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
)

type kind uint8

const (
	none kind = iota
	tumbling
	sliding
	session
	global
	count
)

// Assigner says which windows an input belongs to.
type Assigner struct {
	kind        kind
	size, slide event.Duration // of tumbling and sliding windows
	pane        event.Duration // what a sliding window is made of; slide and size are multiples
	gap         event.Duration // of sessions
	n, step     int            // of count windows, in inputs
	err         error
}

// Tumbling windows follow each other: an input belongs to one.
func Tumbling(size event.Duration) Assigner {
	return Assigner{kind: tumbling, size: size, slide: size, pane: size}.positive(size)
}

// Sliding windows of a size begin every slide: an input belongs to size/slide
// of them. It costs one update all the same: windows are made of panes.
func Sliding(size, slide event.Duration) Assigner {
	if size == slide {
		return Tumbling(size)
	}
	return Assigner{kind: sliding, size: size, slide: slide, pane: divisor(size, slide)}.positive(min(size, slide))
}

// Session windows hold inputs with no more than gap between one and the next;
// they end a gap after the last.
func Session(gap event.Duration) Assigner { return Assigner{kind: session, gap: gap}.positive(gap) }

// Global is one window for all inputs of a key, without an end; a trigger has
// it emit.
func Global() Assigner { return Assigner{kind: global} }

// Count windows hold the latest n inputs of a key and emit after every step
// of them. Their stage must see the inputs of a key in order: it reads the
// source.
func Count(n, step int) Assigner {
	return Assigner{kind: count, n: n, step: step}.positive(event.Duration(min(n, step)))
}

func (a Assigner) positive(least event.Duration) Assigner {
	if least <= 0 {
		a.err = fmt.Errorf("%w: windows of no length", operator.ErrTopology)
	}
	return a
}

// longest is the longest of the lengths of windows in time.
func (a *Assigner) longest() event.Duration { return max(a.size, a.slide, a.gap) }

// Ends reports whether windows end at a moment of time, rather than by a count
// or never.
func (a Assigner) Ends() bool { return a.kind == tumbling || a.kind == sliding || a.kind == session }

// merges reports whether accumulators have to be merged.
func (a Assigner) merges() bool {
	return a.kind == sliding || a.kind == session || a.kind == count && a.step != a.n
}

func divisor[T ~int64 | ~int](a, b T) T {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// paned reports whether windows are made of panes.
func (a *Assigner) paned() bool { return a.kind == tumbling || a.kind == sliding }

// last is the start of the last window that has begun at a time.
func (a *Assigner) last(t event.Time) event.Time { return event.WindowStart(t, a.slide) }

// first is the start of the first window that ends after a time.
func (a *Assigner) first(t event.Time) event.Time {
	if a.kind == tumbling {
		return a.last(t)
	}
	return event.WindowStart(t-a.size, a.slide) + a.slide
}
