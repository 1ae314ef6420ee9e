package window

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
)

// grid is what several kinds of tumbling and sliding windows are made of:
// panes so short that no window begins or ends within one (stream slicing,
// after Traub et al., Scotty, ICDE 2018). An input is added to one pane,
// whatever the number of windows that it belongs to.
//
// What a late input adds goes to a pane of its own, from which only the windows
// draw that end after its cut, see pane.
type grid struct {
	sets []Assigner
	pane event.Duration
	gaps bool // whether there are times that no window holds
}

func newGrid(first Assigner, more []Assigner) grid {
	g := grid{sets: append([]Assigner{first}, more...), pane: first.pane, gaps: true}
	for i := range g.sets {
		g.pane = divisor(g.pane, g.sets[i].pane)
		g.gaps = g.gaps && g.sets[i].slide > g.sets[i].size
	}
	return g
}

// nextEnd is the first end after a moment, from the start of a pane on, of the
// windows that hold the pane; MaxTime if there is none.
func (g *grid) nextEnd(pane, after event.Time) event.Time {
	next := event.MaxTime
	for i := range g.sets {
		w := &g.sets[i]
		if pane+w.size <= after {
			continue
		}
		if start := w.first(after); start <= w.last(pane) {
			next = min(next, start+w.size)
		}
	}
	return next
}

// lastEnd is the last end of the windows that hold a pane.
func (g *grid) lastEnd(pane event.Time) event.Time {
	last := event.MinTime
	for i := range g.sets {
		w := &g.sets[i]
		if end := w.last(pane) + w.size; end > pane {
			last = max(last, end)
		}
	}
	return last
}

// begun is the start of the first window that draws from a pane with a cut.
func (g *grid) begun(pane, cut event.Time) event.Time {
	begun := event.MaxTime
	for i := range g.sets {
		w := &g.sets[i]
		if start := w.first(cut); start <= w.last(pane) {
			begun = min(begun, start)
		}
	}
	return begun
}

// place finds the pane of an input that comes when time has come to passed,
// and its cut. It is false if no window is there for it any more: the input is
// late, or lies between windows.
func (g *grid) place(t, passed event.Time, lateness event.Duration) (pane, cut event.Time, ok bool) {
	if outside(t) {
		return t, t, false
	}
	pane = event.WindowStart(t, g.pane)
	if pane+g.pane-1+lateness > passed {
		return pane, pane, !g.gaps || g.lastEnd(pane) > pane
	}
	end := g.nextEnd(pane, max(pane, passed-lateness+1))
	switch end {
	case event.MaxTime:
		return pane, pane, false
	case g.nextEnd(pane, pane): // it is late for none
		return pane, pane, true
	}
	return pane, end - g.pane, true
}

// has reports whether there can be a pane at start with a cut.
func (g *grid) has(start, cut event.Time) bool {
	const bound = event.MaxTime / 2 // so that nothing below overflows
	if start < -bound || start > bound || cut < start || cut > bound {
		return false
	}
	return event.WindowStart(start, g.pane) == start && event.WindowStart(cut, g.pane) == cut && cut < g.lastEnd(start)
}

// checkShared says what is wrong with windows that are to share panes.
func checkShared(first Assigner, more []Assigner) error {
	for _, w := range more {
		switch {
		case w.err != nil:
			return w.err
		case !first.paned() || !w.paned():
			return fmt.Errorf("%w: only tumbling and sliding windows can share a stage", operator.ErrTopology)
		case w.longest() > Longest:
			return fmt.Errorf("%w: windows of more than %d ms", operator.ErrTopology, Longest)
		}
	}
	return nil
}
