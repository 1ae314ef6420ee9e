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
