package clean

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

func topology(o Options) *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	Add(events, o)
	return t
}

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", func() *operator.Topology { return topology(Defaults()) })
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		remember event.Duration
		ok       bool
	}{
		{event.Day, true}, {1, true}, {366 * event.Day, true},
		{0, false}, {-event.Day, false}, {366*event.Day + 1, false},
	} {
		if err := (Options{Remember: c.remember}).Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrOptions) {
			t.Errorf("remember %d ms: %v", c.remember, err)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

// sent is an event of a property test: a user, an id, a time.
type sent struct {
	user, id string
	at       event.Time
}

func drawStream(t *rapid.T) []sent {
	now := event.Time(1_700_000_000_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sent {
		now += event.Duration(rapid.Int64Range(0, 5*int64(event.Hour)).Draw(t, "passed"))
		return sent{
			user: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"),
			id:   fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")),
			at:   now - event.Duration(rapid.Int64Range(-30, 30).Draw(t, "late"))*event.Hour,
		}
	}), 0, 200).Draw(t, "stream")
}

// The definition, word for word and without timers or indexes: an event is a
// repeat if the last accepted event of the user with its id is remembered.
func TestAcceptsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Remember: event.Duration(rapid.Int64Range(1, 48).Draw(t, "hours")) * event.Hour}
		stream := drawStream(t)
		engine := operatortest.New[event.Enriched](topology(o), 2, 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		accepted := map[int]bool{}
		engine.Emitted = func(_, port string, _ operator.Meta, record any) {
			if port == PortEvents {
				accepted[record.(*event.Enriched).Row] = true
			}
		}
		until := map[string]event.Time{}
		source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
		want := map[int]bool{}
		for i, s := range stream {
			m := operator.Stamp(source, s.at)
			if end, known := until[s.user+s.id]; !known || m.Watermark >= end {
				want[i] = true
				until[s.user+s.id] = m.Effective() + o.Remember
			}
			e := event.Enriched{Event: event.Event{User: s.user, ID: s.id, Time: s.at}, Row: i}
			engine.Send(s.at, &e)
		}
		engine.Drain()
		for i := range stream {
			if accepted[i] != want[i] {
				t.Fatalf("event %d %v: accepted %v, want %v", i, stream[i], accepted[i], want[i])
			}
		}
	})
}

// A state is bounded by the ids of the time that is remembered and an hour.
func TestStateIsBounded(t *testing.T) {
	engine := operatortest.New[event.Enriched](topology(Defaults()), 1, 0, 0)
	const every = event.Minute
	most := 0
	for i := range 3 * int(event.Day/every) {
		at := event.Time(i) * every
		engine.Send(at, &event.Enriched{Event: event.Event{User: "ann", ID: fmt.Sprint(i), Time: at}})
		if i%97 == 0 {
			most = max(most, len(engine.State()[StageName]["ann"]))
		}
	}
	if perID, limit := 24, int((event.Day+event.Hour)/every); most > perID*limit || most < 16*limit/2 {
		t.Errorf("the largest state is %d bytes, want at most %d ids of %d bytes", most, limit, perID)
	}
}

func drawState(t *rapid.T) state {
	var s state
	for i := range rapid.IntRange(0, 100).Draw(t, "ids") {
		s.remember(digest{uint64(i) * 0x9E3779B97F4A7C15, uint64(i)}, 0, event.Time(rapid.Int64().Draw(t, "until")))
	}
	return s
}

// A state that was written and read knows the same ids, and writes the same.
func TestStateReadsBack(t *testing.T) {
	var o clean
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		b := o.Append(nil, &s)
		var read state
		if err := o.Load(stateVersion, b, &read); err != nil {
			t.Fatal(err)
		}
		if again := o.Append(nil, &read); string(again) != string(b) {
			t.Fatalf("% x\nwritten again\n% x", b, again)
		}
		for _, id := range s.ids {
			if at := read.find(id.digest); at < 0 || read.ids[at] != id {
				t.Fatalf("%v not found", id)
			}
		}
		if read.find(digest{1, 2}) >= 0 {
			t.Fatal("found an id that was never remembered")
		}
	})
}

// What is pruned is gone and what is not is found, through all sizes.
func TestPrune(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		before := append([]id(nil), s.ids...)
		at := event.Time(rapid.Int64().Draw(t, "at"))
		next, left := s.prune(at)
		want := event.MaxTime
		n := 0
		for _, id := range before {
			if found := s.find(id.digest) >= 0; found != (id.until > at) {
				t.Fatalf("%v at %d: found %v", id, at, found)
			}
			if id.until > at {
				want, n = min(want, id.until), n+1
			}
		}
		if next != want || left != (n > 0) || len(s.ids) != n {
			t.Fatalf("next %d, %d left, want %d, %d", next, len(s.ids), want, n)
		}
	})
}

func TestLoadRefuses(t *testing.T) {
	var o clean
	for name, c := range map[string]struct {
		version uint8
		in      []byte
		want    error
	}{
		"nothing":         {stateVersion, nil, wire.ErrCorrupt},
		"truncated":       {stateVersion, []byte{1, 2, 3}, wire.ErrCorrupt},
		"bytes left over": {stateVersion, []byte{0, 1}, wire.ErrCorrupt},
		"later version":   {stateVersion + 1, []byte{0}, event.ErrVersion},
	} {
		if err := o.Load(c.version, c.in, &state{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	var o clean
	s := state{}
	s.remember(digest{1, 2}, 0, 3)
	f.Add(o.Append(nil, &s))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var s, again state
		if o.Load(stateVersion, in, &s) != nil {
			return
		}
		if err := o.Load(stateVersion, o.Append(nil, &s), &again); err != nil || len(again.ids) != len(s.ids) {
			t.Errorf("%v; %d ids, read again %d", err, len(s.ids), len(again.ids))
		}
	})
}

// Events with ids of 10,000 users, through the table.
func BenchmarkFold(b *testing.B) {
	for _, name := range []string{"ids", "no-ids"} {
		b.Run(name, func(b *testing.B) {
			table := topology(Defaults()).Nodes()[0].NewTable(operator.Shard{})
			fold := table.Sink().(func(operator.Meta, *event.Enriched))
			users := make([]string, 10_000)
			for i := range users {
				users[i] = fmt.Sprint("user-", i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				at := event.Time(1_700_000_000_000 + i*10)
				e := event.Enriched{Event: event.Event{User: users[i*7919%len(users)], Time: at}}
				if name == "ids" {
					e.ID = users[i%len(users)]
				}
				fold(operator.Meta{Time: at, Watermark: at - 5001}, &e)
				if i%1000 == 0 {
					table.Advance(at-5001, 1<<20)
				}
			}
		})
	}
}
