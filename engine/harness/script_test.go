package harness_test

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
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

func visits() *operator.Topology {
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
	harness.RunScript(t, "testdata/pauses", visits)
	harness.RunScript(t, "testdata/reminders", reminders)
}

// reminder reminds a user a minute of processing time after each event.
type reminder struct{ out *operator.Output[ended] }

func (*reminder) Fold(c *operator.Context, _ string, s *int64, _ *event.Enriched) {
	*s++
	c.SetProcessingTimer(c.ProcessingTime() + event.Minute)
}
func (*reminder) Timer(*operator.Context, string, *int64, event.Time) {}

func (o *reminder) ProcessingTimer(_ *operator.Context, user string, s *int64, at event.Time) {
	o.out.Emit(at, ended{user, *s})
}

func (*reminder) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }
func (*reminder) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func reminders() *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	operator.Add(events, operator.Stage[string, int64, event.Enriched]{
		Name: "reminder", Version: 1, Key: byUser, TTL: &operator.TTL{After: 2 * event.Minute},
		New: func(p *operator.Ports) operator.Operator[string, int64, event.Enriched] {
			return &reminder{operator.Out[ended](p, "reminders")}
		},
	})
	return t
}

// clicks counts a user's events, in a way of a test's.
type clicks struct {
	fold    func(c *operator.Context, s *int64, e *event.Enriched)
	answers func(s *int64)
	out     *operator.Output[event.Enriched]
	view    *operator.ViewPort[count]
}

func (o *clicks) Fold(c *operator.Context, _ string, s *int64, e *event.Enriched) {
	o.fold(c, s, e)
	o.out.Emit(c.Time, *e)
}
func (*clicks) Timer(c *operator.Context, _ string, _ *int64, _ event.Time) { c.Forget() }
func (*clicks) Append(dst []byte, s *int64) []byte                          { return wire.AppendVarint(dst, *s) }
func (*clicks) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func (o *clicks) Answer(key string, s *int64) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	if o.answers != nil {
		o.answers(s)
	}
	o.view.Put(key, count(*s))
}

func clicked(in operator.Stream[event.Enriched], name string, key func(e *event.Enriched) string, o clicks) operator.Stream[event.Enriched] {
	h := operator.Add(in, operator.Stage[string, int64, event.Enriched]{
		Name: name, Version: 1, Key: key,
		New: func(p *operator.Ports) operator.Operator[string, int64, event.Enriched] {
			c := o
			c.out, c.view = operator.Out[event.Enriched](p, "out"), operator.View[count](p, name)
			return &c
		},
	})
	return operator.From[event.Enriched](h, "out")
}

func byUser(e *event.Enriched) string { return e.User }

// steps is a script in which each verb is of one event, and without outputs to
// compare with.
const steps = `
send
10:00:00 ann a
----

send
10:00:01 bob a
----

send
10:00:02 cem a
----

send
10:00:30 ann b
----

restore shards=2
----

views
----
`

// A script fails of an operator that breaks the contract, and says where.
func TestScriptsFindBrokenOperators(t *testing.T) {
	sound := func(_ *operator.Context, s *int64, _ *event.Enriched) { *s++ }
	one := func(o clicks) func() *operator.Topology {
		return func() *operator.Topology {
			topology, source := operator.NewTopology[event.Enriched]()
			clicked(source, "clicks", byUser, o)
			return topology
		}
	}
	behind := func(second func(*operator.Context, *int64, *event.Enriched)) func() *operator.Topology {
		return func() *operator.Topology {
			topology, source := operator.NewTopology[event.Enriched]()
			clicked(clicked(source, "clicks", byUser, clicks{fold: sound}), "items",
				func(e *event.Enriched) string { return e.Item }, clicks{fold: second})
			return topology
		}
	}
	for _, c := range []struct {
		name    string
		build   func() *operator.Topology
		running []string
		want    []string // "" if the script does not fail
	}{
		{"sound", one(clicks{fold: sound}), nil, nil},
		{"sound behind an exchange", behind(sound), nil, nil},
		{"says Unchanged of a change", one(clicks{fold: func(c *operator.Context, s *int64, _ *event.Enriched) {
			if *s++; *s > 1 {
				c.Unchanged()
			}
		}}), nil, []string{":14: send: verb by verb", "Unchanged"}},
		{"state that depends on where blocks end", one(clicks{fold: sound, answers: func(s *int64) { *s += 100 }}), nil,
			[]string{":18: restore: verb by verb", "differ"}},
		{"the last to arrive wins", behind(func(_ *operator.Context, s *int64, e *event.Enriched) { *s = int64(e.Time) }), nil,
			[]string{"records in flight, seed"}},
		{"a timer that has passed", one(clicks{fold: func(c *operator.Context, s *int64, _ *event.Enriched) {
			c.SetTimer(c.Watermark)
		}}), nil, []string{"a timer is set"}},
		{"running results of what is in order", one(clicks{fold: sound}), []string{"clicks.out"}, []string{"in order"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := failure(func(tb harness.TB) {
				harness.RunScriptWith(tb, c.build, c.running, func(run func(*datadriven.TestData) string) {
					datadriven.RunTestFromString(t, steps, func(_ *testing.T, d *datadriven.TestData) string {
						run(d)
						return d.Expected
					})
				})
			})
			if len(c.want) == 0 && text != "" {
				t.Errorf("failed with %s", text)
			}
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("failed with %q, want %q", text, want)
				}
			}
		})
	}
}
