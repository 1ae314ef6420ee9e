package pairs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

// told is what one user tells one row, at a time: its item goes with partners,
// the first at a distance, each other one further away.
type told struct {
	user     string
	at       event.Time
	item     string
	partners []string
	distance int
}

// contribution is what the row is told, with weights decayed by lateness. It
// reports false if nothing is left of them.
func (k *told) contribution(names *Names, m operator.Meta, o Options) (Contribution, bool) {
	var list []Pair
	for i, p := range k.partners {
		if w := o.halfLife().Scale(weight(k.distance+i), m.Effective()-m.Time); w > 0 {
			list = append(list, Pair{p, w})
		}
	}
	if len(list) == 0 {
		return Contribution{}, false
	}
	return NewContribution(names, k.item, event.WindowStart(m.Effective(), o.slice()), list...), true
}

// teller is a stage keyed by user that tells rows, so that rows stand behind
// an exchange with several senders.
type teller struct {
	options Options
	names   *Names
	pairs   *operator.Output[Contribution]
}

func (o *teller) Fold(c *operator.Context, _ string, _ *int, in *told) {
	if k, ok := in.contribution(o.names, c.Meta, o.options); ok {
		o.pairs.Emit(c.Time, k)
	}
}
func (o *teller) Timer(*operator.Context, string, *int, event.Time) {}
func (o *teller) Append(dst []byte, _ *int) []byte                  { return dst }
func (o *teller) Load(uint8, []byte, *int) error                    { return nil }

func rowTopology(o Options) *operator.Topology {
	t, source := operator.NewTopology[told]()
	h := operator.Add(source, operator.Stage[string, int, told]{
		Name: "teller", Version: 1,
		Key: func(in *told) string { return in.user },
		New: func(p *operator.Ports) operator.Operator[string, int, told] {
			return &teller{o, NewNames(), operator.Out[Contribution](p, PortPairs)}
		},
	})
	addRows(operator.From[Contribution](h, PortPairs), "rows", o)
	return t
}

// small options make panes of 24 minutes and rows that are full at once.
func drawOptions(t *rapid.T) Options {
	o := Options{Pane: 24 * event.Minute, Capacity: rapid.IntRange(1, 4).Draw(t, "capacity")}
	o.HalfLife = o.Pane * rapid.SampledFrom([]event.Duration{1, 3, 30}).Draw(t, "panes in a half-life")
	o.Top = rapid.IntRange(1, o.Capacity).Draw(t, "top")
	return o
}

func drawTold(t *rapid.T) []told {
	now := event.Time(1_767_225_600_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) told {
		jump := rapid.SampledFrom([]event.Duration{0, 0, 0, 1, 5, 30, 100, 60 * 24, 60 * 24 * 5}).Draw(t, "minutes")
		now += jump * event.Minute
		late := rapid.SampledFrom([]event.Duration{0, 0, 0, 4, 300, 3000}).Draw(t, "seconds late")
		k := told{user: rapid.SampledFrom([]string{"u", "v", "w", "x"}).Draw(t, "user"), at: now - late*event.Second}
		k.item = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "item")
		k.distance = rapid.IntRange(1, 20).Draw(t, "distance")
		for range rapid.IntRange(1, 4).Draw(t, "partners") {
			k.partners = append(k.partners, fmt.Sprint("p", rapid.IntRange(0, 30).Draw(t, "partner")))
		}
		return k
	}), 1, 150).Draw(t, "told")
}

// Whatever way the records of several shards take, on all engines, rows and
// views come out the same, also through restarts with other numbers of shards.
func TestRowsCommute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		var stream []harness.Record[told]
		for _, k := range drawTold(t) {
			stream = append(stream, harness.At(k.at, k))
		}
		bounded := func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(5 * event.Second) }
		h := harness.New[told](t, rowTopology(o), harness.Options{Watermarks: bounded})
		for _, k := range stream {
			h.Send(k.Time, k.Record)
		}
		want := h.Snapshot()
		for range 2 {
			seed := rapid.Uint64().Draw(t, "seed")
			again := harness.New[told](t, rowTopology(o), harness.Options{Watermarks: bounded, Seed: seed})
			again.Play(seed, stream)
			if got := again.Snapshot(); !bytes.Equal(got, want) {
				t.Fatalf("seed %d:\n%x\nin one block:\n%x", seed, got, want)
			}
			if diff := cmp.Diff(answers(t, h), answers(t, again)); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
		}
	})
}

// answers are the bytes of what rows answer.
func answers(t *rapid.T, h *harness.Harness[told]) map[string][]byte {
	all := map[string][]byte{}
	for item, v := range h.Views("rows") {
		b, err := v.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		all[item] = b
	}
	return all
}

// What a row says after each step is what it says when it is loaded from its
// bytes: rankings that are kept up to date equal those made from nothing.
func TestRankingsKeptUpToDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		b, sender := NewBook(o), NewNames()
		var r Row
		var c operator.Context
		var timers []event.Time
		source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
		for _, k := range drawTold(t) {
			c.Begin(operator.Stamp(source, k.at))
			if in, ok := k.contribution(sender, c.Meta, o); ok {
				b.Count(&c, &r, &in)
			}
			timers = setTimers(&c, timers)
			for len(timers) > 0 && timers[0] <= source.Watermark() {
				at := timers[0]
				c.Begin(operator.Meta{Time: at, Watermark: at - 1})
				b.Close(&c, &r, at)
				timers = setTimers(&c, timers[1:])
			}
			if rapid.Bool().Draw(t, "answer") && len(r.panes)+len(r.weights) > 0 {
				checkReloaded(t, o, b, &r)
			}
		}
	})
}

func setTimers(c *operator.Context, timers []event.Time) []event.Time {
	set, unset := c.Effects().Set, c.Effects().Unset
	timers = slices.DeleteFunc(slices.Clone(timers), func(at event.Time) bool { return slices.Contains(unset, at) })
	timers = append(timers, set...)
	slices.Sort(timers)
	return slices.Compact(timers)
}

func checkReloaded(t *rapid.T, o Options, b *Book, r *Row) {
	bytesOf := b.Append(nil, r)
	other := NewBook(o)
	other.names.ID("shifts the numbers of all that follow")
	var read Row
	if err := other.Load(rowVersion, bytesOf, &read); err != nil {
		t.Fatal(err)
	}
	if again := other.Append(nil, &read); !bytes.Equal(again, bytesOf) {
		t.Fatalf("% x\nis written again as\n% x", bytesOf, again)
	}
	said, _ := b.Partners(r).AppendBinary(nil)
	want, _ := other.Partners(&read).AppendBinary(nil)
	if !bytes.Equal(said, want) {
		t.Fatalf("it says % x\nloaded from its bytes % x", said, want)
	}
}

// The definition, in float64 and without panes that close: a row whose
// partners are few weighs them as package documentation says.
func TestWeightsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		o.Capacity, o.Top = 100, 100
		stream := drawTold(t)
		e := operatortest.New[told](rowTopology(o), 2, 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
		h := o.halfLife()
		type pair struct {
			partner string
			pane    event.Time
			weight  float64
		}
		pairs, last := map[string][]pair{}, map[string]event.Time{}
		for i := range stream {
			k := &stream[i]
			e.Send(k.at, k)
			m := operator.Stamp(source, k.at)
			pane := event.WindowStart(m.Effective(), o.Pane)
			in, ok := k.contribution(NewNames(), m, o)
			if !ok {
				continue
			}
			last[k.item] = max(last[k.item], pane)
			for _, p := range in.List() {
				pairs[k.item] = append(pairs[k.item], pair{p.Partner, pane, float64(p.Weight) / One})
			}
		}
		e.Drain()
		for item, at := range last {
			want := map[string]float64{}
			for _, p := range pairs[item] {
				want[p.partner] += p.weight * math.Exp2(-float64(at-p.pane)/float64(h))
			}
			a := e.Views()["rows"][item].(*Partners)
			if a.AsOf() != at {
				t.Fatalf("%s is as of %v, want %v", item, a.AsOf(), at)
			}
			for i := range a.Len() {
				w := want[a.Item(i)]
				if got := a.Weight(i); math.Abs(got-w) > 1e-4*w+1e-9 {
					t.Fatalf("%s weighs %s %v, want %v", item, a.Item(i), got, w)
				}
				delete(want, a.Item(i))
			}
			for p, w := range want {
				if w > 1e-9 {
					t.Fatalf("%s does not mention %s, which weighs %v", item, p, w)
				}
			}
		}
	})
}

func TestWeightOfDistance(t *testing.T) {
	for distance, want := range map[int]uint32{1: 4096, 2: 2048, 3: 1365, 7: 585, 20: 205, 64: 64} {
		if got := weight(distance); got != want {
			t.Errorf("at distance %d: %d, want %d", distance, got, want)
		}
	}
}

// A row that meets ever new partners, all in one day, stays within its bounds,
// and those that it has known count in full.
func TestRowIsBounded(t *testing.T) {
	o := Options{Pane: event.Day, HalfLife: 30 * event.Day, Capacity: 8, Top: 8}
	e := operatortest.New[told](rowTopology(o), 1, 0, 0)
	at := event.Time(0)
	send := func(partners ...string) {
		e.Send(at, &told{"u", at, "a", partners, 1})
	}
	send("old")
	at += event.Day
	for i := range 3000 {
		at += 25 * event.Second
		send(fmt.Sprint("new", i))
		if i%10 == 0 {
			send("old")
		}
	}
	e.Drain()
	a := e.Views()["rows"]["a"].(*Partners)
	if a.Item(0) != "old" || math.Abs(a.Weight(0)-300) > 2 || math.Abs(a.Total()-3300) > 2 {
		t.Errorf("the first of %d is %s with %v of %v, want old with 301 of 3301", a.Len(), a.Item(0), a.Weight(0), a.Total())
	}
	if size := len(e.State()["rows"]["a"]); size > 3*o.Capacity*20 {
		t.Errorf("the row takes %d bytes", size)
	}
}

// A partner that was ranked, was then pruned and comes back takes no place but
// its own.
func TestPrunedPartnerComesBack(t *testing.T) {
	o := Options{Pane: event.Day, HalfLife: 30 * event.Day, Capacity: 2, Top: 2}
	b, sender := NewBook(o), NewNames()
	var c operator.Context
	var r Row
	count := func(at event.Time, pairs ...Pair) {
		c.Begin(operator.Meta{Time: at, Watermark: at - 1})
		in := NewContribution(sender, "a", event.WindowStart(at, o.slice()), pairs...)
		b.Count(&c, &r, &in)
	}
	count(0, Pair{"old", 10})
	b.Partners(&r)
	count(1, Pair{"w", 100}, Pair{"x", 200}, Pair{"y", 300}, Pair{"z", 400})
	c.Begin(operator.Meta{Time: event.Hour - 1, Watermark: event.Hour - 2})
	b.Close(&c, &r, event.Hour-1)
	b.Partners(&r)
	count(2*event.Hour, Pair{"old", 350})
	a := b.Partners(&r)
	if a.Len() != 2 || a.Item(0) != "z" || a.Item(1) != "old" {
		t.Errorf("the first of %d are %s and %s, want z and old", a.Len(), a.Item(0), a.Item(1))
	}
}

func FuzzLoadRow(f *testing.F) {
	o := Defaults()
	b := NewBook(o)
	var c operator.Context
	var r Row
	for i, at := range []event.Time{0, event.Hour, 26 * event.Hour} {
		c.Begin(operator.Meta{Time: at, Watermark: at - 1})
		in := NewContribution(NewNames(), "a", at, Pair{"x", uint32(i + 1)}, Pair{"y", 1})
		b.Count(&c, &r, &in)
		f.Add(b.Append(nil, &r))
		if i == 0 {
			b.Close(&c, &r, event.Hour-1)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		b := NewBook(o)
		var r Row
		if b.Load(rowVersion, src, &r) != nil {
			return
		}
		written := b.Append(nil, &r)
		var again Row
		if err := b.Load(rowVersion, written, &again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Append(nil, &again), written) {
			t.Fatal("not written the same again")
		}
	})
}

func FuzzReadPartners(f *testing.F) {
	b := NewBook(Defaults())
	var c operator.Context
	var r Row
	c.Begin(operator.Meta{Time: 5, Watermark: 0})
	in := NewContribution(NewNames(), "a", 0, Pair{"x", 2}, Pair{"y", 1})
	b.Count(&c, &r, &in)
	seed, _ := b.Partners(&r).AppendBinary(nil)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, src []byte) {
		a, err := ReadPartners(src)
		if err != nil {
			return
		}
		written, _ := a.AppendBinary(nil)
		again, err := ReadPartners(written)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := again.AppendBinary(nil); !bytes.Equal(b, written) {
			t.Fatal("not written the same again")
		}
	})
}

func TestLoadRefusesOtherVersions(t *testing.T) {
	if err := NewBook(Defaults()).Load(rowVersion+1, nil, &Row{}); err == nil {
		t.Error("a row of the next version was read")
	}
	if err := NewBook(Defaults()).Load(rowVersion, []byte{1}, &Row{}); !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("half a row: %v", err)
	}
}
