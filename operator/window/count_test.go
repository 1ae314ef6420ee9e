package window_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator/window"
)

// heard is an input as a count window sees it.
type heard struct {
	at    event.Time
	value int64
}

// countModel is count windows, or the global window with a trigger, by
// definition, for one key.
type countModel struct {
	n, step int // 0 for the global window
	trigger window.Trigger
	all     []heard
	since   int          // inputs since the global window has emitted last
	ticks   []event.Time // when it is to emit
	fired   []string
}

func (m *countModel) input(who uint64, in heard, mark, now event.Time, processing bool) {
	m.advance(who, mark)
	m.all = append(m.all, in)
	m.since++
	if m.step > 0 {
		if len(m.all)%m.step == 0 {
			m.fire(who, m.all[max(0, len(m.all)-m.n):], window.OnTime)
		}
		return
	}
	if m.trigger.Count > 0 && m.since >= m.trigger.Count {
		m.early(who)
	}
	if every := max(m.trigger.Every, m.trigger.EveryProcessing); every > 0 && (m.since > 0 || !m.trigger.Purge) {
		from := max(in.at, mark)
		if m.trigger.EveryProcessing > 0 || processing {
			from = now
		}
		m.ticks = append(m.ticks, event.WindowStart(from, every)+every)
	}
}

func (m *countModel) early(who uint64) {
	m.fire(who, m.all, window.Early)
	if m.since = 0; m.trigger.Purge {
		m.all, m.ticks = nil, nil
	}
}

func (m *countModel) fire(who uint64, inputs []heard, firing window.Firing) {
	var values []int64
	first, last := event.MaxTime, event.MinTime
	for _, in := range inputs {
		values = append(values, in.value)
		first, last = min(first, in.at), max(last, in.at)
	}
	r := row{who, first, last + 1, firing, fmt.Sprint(values)}
	if m.step == 0 {
		r.Start, r.End = event.MinTime, event.MaxTime
	}
	m.fired = append(m.fired, line(last, r))
}

// advance fires the ticks up to a moment.
func (m *countModel) advance(who uint64, mark event.Time) {
	slices.Sort(m.ticks)
	for len(m.ticks) > 0 && m.ticks[0] <= mark {
		if m.ticks = m.ticks[1:]; m.since > 0 {
			m.early(who)
		}
	}
}

// countTrial runs a stage beside models.
type countTrial struct {
	*harness.Harness[visit]
	t          *rapid.T
	kind       kind
	count      [2]int
	models     map[uint64]*countModel
	mark, now  event.Time
	sent       int64
	got        []string
	processing bool // ticks are in processing time
}

func (r *countTrial) step() {
	switch step := rapid.IntRange(0, 15).Draw(r.t, "step"); step {
	case 0:
		r.take()
		r.Restore(r.Snapshot(), rapid.IntRange(1, 5).Draw(r.t, "shards"))
	case 1:
		r.Flush()
	case 2, 3:
		r.mark = max(r.mark, -50) + event.Time(rapid.IntRange(0, 30).Draw(r.t, "watermark"))
		r.Watermark(r.mark)
		r.advance(r.mark, false)
	case 4, 5:
		r.now += event.Time(rapid.IntRange(0, 30).Draw(r.t, "passed"))
		r.ProcessingTime(r.now)
		r.advance(r.now, true)
	default:
		at := event.Time(rapid.IntRange(-50, 100).Draw(r.t, "time"))
		r.sent++
		v := visit{Who: uint64(rapid.IntRange(1, 3).Draw(r.t, "key")), Value: r.sent}
		r.Send(at, v)
		m := r.models[v.Who]
		if m == nil {
			m = &countModel{n: r.count[0], step: r.count[1], trigger: r.kind.trigger}
			r.models[v.Who] = m
		}
		mark := r.mark
		if r.processing {
			mark = event.MinTime
		}
		if r.kind.processing {
			m.input(v.Who, heard{r.now, v.Value}, mark, r.now, true)
		} else {
			m.input(v.Who, heard{at, v.Value}, mark, r.now, r.processing)
		}
	}
}

func (r *countTrial) advance(to event.Time, processing bool) {
	if processing == r.processing {
		for who, m := range r.models {
			m.advance(who, to)
		}
	}
}

func (r *countTrial) take() {
	for _, g := range harness.Emitted[row](r.Harness, "windows", window.PortResults) {
		r.got = append(r.got, line(g.Time, g.Record))
	}
	harness.Expect[visit](r.Harness, "windows", window.PortLate)
}

func TestCountAndGlobalWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &countTrial{t: t, models: map[uint64]*countModel{}, mark: event.MinTime}
		r.kind = kind{windows: window.Global(), processing: rapid.Bool().Draw(t, "processing")}
		purge, n := rapid.Bool().Draw(t, "purge"), rapid.IntRange(1, 9).Draw(t, "n")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			r.kind.trigger = window.Trigger{Count: n, Purge: purge}
		case 1:
			r.kind.trigger = window.Trigger{Every: event.Duration(n), Purge: purge}
			r.processing = r.kind.processing
		case 2:
			r.kind.trigger = window.Trigger{EveryProcessing: event.Duration(n), Purge: purge}
			r.processing = true
		default:
			r.count = [2]int{n, rapid.IntRange(1, 9).Draw(t, "step")}
			r.kind.windows = window.Count(r.count[0], r.count[1])
		}
		r.Harness = harness.Stage(t, harness.Options{Seed: rapid.Uint64().Draw(t, "seed")}, func(source stream) {
			spec := specOf[uint64, []visit, row](r.kind, "windows", byNumber)
			spec.Result = func(w window.Window[uint64], list *[]visit, emit func(row)) {
				var values []int64
				for _, v := range *list {
					values = append(values, v.Value) // in the order in which they came
				}
				emit(rowOf(number, w, values))
			}
			window.Collect(source, visitCodec, spec)
		})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			r.step()
		}
		r.take()
		var want []string
		for _, m := range r.models {
			want = append(want, m.fired...)
		}
		equal(t, "windows", want, r.got)
	})
}
