package window_test

import (
	"slices"

	"millrace/event"
	"millrace/operator/window"
)

// model computes windows by their definition, for one key: it keeps every
// input, looks at every millisecond, and takes nothing for granted about panes,
// timers or blocks. It is Flink's WindowOperator with an EventTimeTrigger, or
// with what Trigger adds to it.
//
// Windows in processing time are windows in event time whose watermark is one
// millisecond behind: they end when processing time has come to their end.
type model struct {
	assign     func(t event.Time) []event.Time // the starts of windows; nil for sessions
	size       event.Duration                  // or the gap
	lateness   event.Duration
	trigger    window.Trigger
	processing bool

	mark    event.Time
	windows []*modelWindow
	clock   []event.Time // of Trigger.EveryProcessing
	fired   []modelRow
	late    []int64
}

// modelWindow is a window, or a session.
type modelWindow struct {
	start, end event.Time
	inputs     []int64
	n          int // since it has emitted last
}

type modelRow struct {
	start, end event.Time
	firing     window.Firing
	inputs     []int64 // sorted
}

func (m *model) fire(w *modelWindow, firing window.Firing) {
	if m.trigger.Purge && len(w.inputs) == 0 {
		return
	}
	m.fired = append(m.fired, modelRow{w.start, w.end, firing, slices.Sorted(slices.Values(w.inputs))})
	if w.n = 0; m.trigger.Purge {
		w.inputs = nil
	}
}

// input adds an input that comes when time has come to mark, and processing
// time to now.
func (m *model) input(t, mark, now event.Time, v int64) {
	m.advance(mark)
	open, found := false, false
	for _, w := range m.find(t, mark) {
		found = true
		w.inputs = append(w.inputs, v)
		w.n++
		if w.end-1 <= mark {
			m.fire(w, window.Late)
			continue
		}
		open = true
		if m.trigger.Count > 0 && w.n >= m.trigger.Count {
			m.fire(w, window.Early)
		}
	}
	if !found && t+m.lateness <= mark {
		m.late = append(m.late, v)
	}
	if every := m.trigger.EveryProcessing; open && every > 0 {
		m.clock = append(m.clock, event.WindowStart(now, every)+every)
	}
	m.dropEmpty()
}

// find are the windows that an input belongs to and that are not let go yet.
func (m *model) find(t, mark event.Time) (all []*modelWindow) {
	if m.assign == nil {
		return m.session(t, mark)
	}
	for _, start := range m.assign(t) {
		if start+m.size-1+m.lateness <= mark {
			continue
		}
		i := slices.IndexFunc(m.windows, func(w *modelWindow) bool { return w.start == start })
		if i < 0 {
			m.windows = append(m.windows, &modelWindow{start: start, end: start + m.size})
			i = len(m.windows) - 1
		}
		all = append(all, m.windows[i])
	}
	return all
}

// session joins the sessions that touch the one of the input.
func (m *model) session(t, mark event.Time) []*modelWindow {
	joined := &modelWindow{start: t, end: t + m.size}
	var others []*modelWindow
	for _, w := range m.windows {
		if w.start <= t+m.size && t <= w.end {
			joined.start, joined.end = min(joined.start, w.start), max(joined.end, w.end)
			joined.inputs = append(joined.inputs, w.inputs...)
			joined.n += w.n
		} else {
			others = append(others, w)
		}
	}
	if joined.end-1+m.lateness <= mark {
		return nil
	}
	m.windows = append(others, joined)
	return []*modelWindow{joined}
}

// advance has time come to a moment.
func (m *model) advance(mark event.Time) {
	if len(m.windows) == 0 || mark >= event.MaxTime {
		m.advanceTo(min(mark, m.horizon()))
		m.mark = max(m.mark, mark)
		return
	}
	m.advanceTo(mark)
}

// horizon is when everything has happened.
func (m *model) horizon() event.Time {
	at := m.mark
	for _, w := range m.windows {
		at = max(at, w.end+m.lateness)
	}
	return at
}

func (m *model) advanceTo(mark event.Time) {
	if m.mark < -10_000 { // time has not begun
		m.mark = min(mark, -10_000)
	}
	for m.mark < mark {
		m.mark++
		m.moment(m.mark)
	}
}

// moment is what happens when time comes to at: early results, then results,
// then windows are let go.
func (m *model) moment(at event.Time) {
	tick := at
	if m.processing {
		tick = at + 1
	}
	for _, w := range m.windows {
		switch every := m.trigger.Every; {
		case w.end-1 == at:
			m.fire(w, window.OnTime)
		case every > 0 && tick%every == 0 && w.start < tick && w.end-1 > at:
			m.fire(w, window.Early)
		}
	}
	m.windows = slices.DeleteFunc(m.windows, func(w *modelWindow) bool { return w.end-1+m.lateness == at })
	m.dropEmpty()
}

// dropEmpty lets go of windows that were purged. Sessions keep their bounds.
func (m *model) dropEmpty() {
	if m.assign != nil {
		m.windows = slices.DeleteFunc(m.windows, func(w *modelWindow) bool { return len(w.inputs) == 0 })
	}
}

// processingTime has processing time come to a moment, for the early results of
// windows in event time.
func (m *model) processingTime(now event.Time) {
	for {
		slices.Sort(m.clock)
		if len(m.clock) == 0 || m.clock[0] > now {
			return
		}
		at, open := m.clock[0], false
		m.clock = slices.DeleteFunc(m.clock, func(t event.Time) bool { return t == at })
		for _, w := range m.windows {
			if w.end-1 > m.mark {
				open = true
				m.fire(w, window.Early)
			}
		}
		if m.dropEmpty(); open {
			m.clock = append(m.clock, at+m.trigger.EveryProcessing)
		}
	}
}
