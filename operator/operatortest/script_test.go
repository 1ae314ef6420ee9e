package operatortest_test

import (
	"testing"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/operatortest"
)

// pauses counts a user's events and ends the count after a quiet minute.
type pauses struct {
	ended *operator.Output[ended]
	view  *operator.ViewPort[count]
}

type ended struct {
	User  string
	Count int64
}

type visit struct{ count, last int64 }

type count int64

func (c count) AppendBinary(dst []byte) ([]byte, error) { return wire.AppendVarint(dst, int64(c)), nil }

func (p *pauses) Fold(c *operator.Context, _ string, s *visit, _ *event.Enriched) {
	if s.count > 0 {
		c.DeleteTimer(event.Time(s.last) + event.Minute)
	}
	s.count++
	s.last = max(s.last, int64(c.Time))
	c.SetTimer(event.Time(s.last) + event.Minute)
}

func (p *pauses) Timer(c *operator.Context, key string, s *visit, at event.Time) {
	p.ended.Emit(at, ended{key, s.count})
	c.Forget()
}

func (p *pauses) Append(dst []byte, s *visit) []byte {
	return wire.AppendVarint(wire.AppendVarint(dst, s.count), s.last)
}

func (p *pauses) Load(_ uint8, src []byte, s *visit) error {
	r := wire.NewReader(src)
	s.count, s.last = r.Varint(), r.Varint()
	return r.Err()
}

func (p *pauses) Answer(key string, s *visit) {
	if s == nil {
		p.view.Delete(key)
		return
	}
	p.view.Put(key, count(s.count))
}

// longest keeps the highest count that ended, over all users.
type longest struct{ view *operator.ViewPort[count] }

func (l *longest) Fold(c *operator.Context, _ string, s *int64, in *ended) {
	if in.Count <= *s {
		c.Unchanged()
		return
	}
	*s = in.Count
}
func (l *longest) Timer(*operator.Context, string, *int64, event.Time) {}
func (l *longest) Append(dst []byte, s *int64) []byte                  { return wire.AppendVarint(dst, *s) }
func (l *longest) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}
func (l *longest) Answer(key string, s *int64) { l.view.Put(key, count(*s)) }

func topology() *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	h := operator.Add(events, operator.Stage[string, visit, event.Enriched]{
		Name: "pauses", Subject: operator.SubjectUser, Version: 1,
		Key: func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, visit, event.Enriched] {
			return &pauses{operator.Out[ended](p, "ended"), operator.View[count](p, "visits")}
		},
	})
	operator.Add(operator.From[ended](h, "ended"), operator.Stage[string, int64, ended]{
		Name: "longest", Version: 1,
		Key: func(*ended) string { return "all" },
		New: func(p *operator.Ports) operator.Operator[string, int64, ended] {
			return &longest{operator.View[count](p, "longest")}
		},
	})
	return t
}

func TestScripts(t *testing.T) {
	operatortest.RunScript(t, "testdata", topology)
}

// hasty sets a timer a while after the event's own time, which may have passed,
// and another one when it fires.
type hasty struct{ first, again event.Duration }

func (h hasty) Fold(c *operator.Context, _ string, _ *visit, _ *event.Enriched) {
	c.SetTimer(c.Time + h.first)
}

func (h hasty) Timer(c *operator.Context, _ string, _ *visit, at event.Time) {
	if h.again != 0 {
		c.SetTimer(at + h.again - 1)
	}
}

func (hasty) Append(dst []byte, _ *visit) []byte     { return dst }
func (hasty) Load(_ uint8, _ []byte, _ *visit) error { return nil }

// A timer that the watermark has passed would fire at another moment on another
// engine, so an operator that sets one is stopped.
func TestTimersThatHavePassedAreRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		stage   hasty
		refused bool
	}{
		{"at the watermark", hasty{first: 1}, true},
		{"after the watermark", hasty{first: 2}, false},
		{"by a timer, for its own time", hasty{first: 2, again: 1}, true},
		{"by a timer, for later", hasty{first: 2, again: 1 + event.Day}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology, events := operator.NewTopology[event.Enriched]()
			operator.Add(events, operator.Stage[string, visit, event.Enriched]{
				Name: "hasty", Version: 1,
				Key: func(e *event.Enriched) string { return e.User },
				New: func(*operator.Ports) operator.Operator[string, visit, event.Enriched] { return c.stage },
			})
			defer func() {
				if r := recover(); (r != nil) != c.refused {
					t.Errorf("it panics with %v", r)
				}
			}()
			e := operatortest.New[event.Enriched](topology, 1, 0, 0)
			for _, at := range []event.Time{1002, 1000, 2000} { // the second one is late: the watermark is 1001
				e.Send(at, &event.Enriched{Event: event.Event{User: "ann", Time: at}})
			}
		})
	}
}
