package association_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
	"millrace/recommend/association"
	"millrace/recommend/pairs"
	"millrace/recommend/recommendtest"
)

func build(o association.Options) *operator.Topology {
	return recommendtest.Topology(func(events operator.Stream[event.Enriched]) {
		association.Add(events, event.DefaultTypes(), o)
	})
}

func TestScripts(t *testing.T) {
	o := association.Defaults()
	o.Neighbors.Rows.Pane = event.Day
	harness.RunScript(t, "testdata", func() *operator.Topology { return build(o) })
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*association.Options)
		want   error
	}{
		"no window":         {func(o *association.Options) { o.Window = 0 }, association.ErrOptions},
		"one item":          {func(o *association.Options) { o.Items = 1 }, association.ErrOptions},
		"no windows":        {func(o *association.Options) { o.Windows = 0 }, association.ErrOptions},
		"no partners":       {func(o *association.Options) { o.Partners = 0 }, association.ErrOptions},
		"no top":            {func(o *association.Options) { o.Top = 0 }, association.ErrOptions},
		"no trail":          {func(o *association.Options) { o.Neighbors.Items = 0 }, pairs.ErrOptions},
		"no row":            {func(o *association.Options) { o.Neighbors.Rows.Capacity = 0 }, pairs.ErrOptions},
		"nothing, it is ok": {func(*association.Options) {}, nil},
	} {
		o := association.Defaults()
		c.change(&o)
		if err := o.Validate(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func drawEvents(t *rapid.T) []event.Enriched {
	now := event.Time(1_767_225_600_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
		now += rapid.SampledFrom([]event.Duration{0, event.Second, 40 * event.Second, 6 * event.Minute}).Draw(t, "passed")
		return event.Enriched{Event: event.Event{
			User: rapid.SampledFrom([]string{"ann", "bob", "cem"}).Draw(t, "user"),
			Item: rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "item"),
			Type: rapid.SampledFrom([]string{"view", "view", "impression", "dislike"}).Draw(t, "type"),
			Time: now - rapid.SampledFrom([]event.Duration{0, 0, 3 * event.Second, 4 * event.Minute}).Draw(t, "late"),
		}}
	}), 0, 120).Draw(t, "events")
}

// job is the association job by its definition, from the list of all events.
type job struct {
	associations map[association.Association]int // how often emitted, with the sum
	late         int
}

func runJob(o association.Options, events []event.Enriched) job {
	type visit struct {
		start event.Time
		user  string
	}
	type seen struct {
		item  string
		count uint64
		first event.Time
	}
	source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
	visits, late := map[visit][]seen{}, 0
	for _, e := range events {
		m := operator.Stamp(source, e.Time)
		if e.Type == event.TypeImpression {
			continue
		}
		v := visit{event.WindowStart(e.Time, o.Window), e.User}
		if v.start+o.Window-1 <= m.Watermark {
			late++
			continue
		}
		list := visits[v]
		i := slices.IndexFunc(list, func(s seen) bool { return s.item == e.Item })
		switch {
		case i >= 0:
			list[i].count++
			list[i].first = min(list[i].first, e.Time)
		case len(list) < o.Items:
			visits[v] = append(list, seen{e.Item, 1, e.Time})
		}
	}
	type key struct {
		start         event.Time
		item, partner string
	}
	sums := map[key]uint64{}
	for v, list := range visits {
		for _, a := range list {
			for _, b := range list {
				if a.first < b.first || a.first == b.first && a.item < b.item {
					sums[key{v.start, a.item, b.item}] += a.count * b.count
				}
			}
		}
	}
	j := job{map[association.Association]int{}, late}
	for k, n := range sums {
		j.associations[association.Association{WindowStart: k.start, Item: k.item, Partner: k.partner, Association: n}]++
	}
	return j
}

// strongest is the view of an item by its definition.
func (j job) strongest(o association.Options, item string) []association.Associated {
	byWindow := map[event.Time][]association.Associated{}
	for a := range j.associations {
		if a.Item == item {
			byWindow[a.WindowStart] = append(byWindow[a.WindowStart], association.Associated{Item: a.Partner, Association: a.Association})
		}
	}
	order := func(x, y association.Associated) int {
		return cmp.Or(cmp.Compare(y.Association, x.Association), cmp.Compare(x.Item, y.Item))
	}
	starts := slices.Sorted(maps.Keys(byWindow))
	total := map[string]uint64{}
	for _, start := range starts[max(0, len(starts)-o.Windows):] {
		list := byWindow[start]
		slices.SortFunc(list, order)
		for _, a := range list[:min(len(list), o.Partners)] {
			total[a.Item] += a.Association
		}
	}
	var list []association.Associated
	for partner, n := range total {
		list = append(list, association.Associated{Item: partner, Association: n})
	}
	slices.SortFunc(list, order)
	return list[:min(len(list), o.Top)]
}

// The job does what its definition says, in any order of arrival, also
// through a restart.
func TestJobByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := association.Defaults()
		o.Items = rapid.IntRange(2, 6).Draw(t, "items")
		o.Windows = rapid.IntRange(1, 4).Draw(t, "windows")
		o.Partners = rapid.IntRange(1, 5).Draw(t, "partners")
		o.Top = rapid.IntRange(1, 5).Draw(t, "top")
		events := drawEvents(t)
		cut := rapid.IntRange(0, len(events)).Draw(t, "restart after")
		want := runJob(o, events)
		e := operatortest.New[event.Enriched](build(o), rapid.IntRange(1, 3).Draw(t, "shards"), 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		got := job{associations: map[association.Association]int{}}
		e.Emitted = func(_, _ string, _ operator.Meta, record any) {
			switch r := record.(type) {
			case *association.Association:
				got.associations[*r]++
			case *association.Late:
				got.late++
			}
		}
		for i := range events {
			if i == cut {
				var err error
				if e, err = e.Restored(2, 7); err != nil {
					t.Fatal(err)
				}
			}
			e.Send(events[i].Time, &events[i])
		}
		e.Watermark(event.MaxTime - 1)
		e.Drain()
		if !maps.Equal(got.associations, want.associations) || got.late != want.late {
			t.Fatalf("%d late and %v,\nwant %d and %v", got.late, got.associations, want.late, want.associations)
		}
		for item := range map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true, "f": true} {
			var list []association.Associated
			if v, ok := e.Views()[association.ViewAssociations][item]; ok {
				list = v.(*association.Associations).List()
			}
			if want := want.strongest(o, item); !slices.Equal(list, want) {
				t.Fatalf("with %s go %v, want %v", item, list, want)
			}
		}
	})
}

// All stages, states and views come out the same whatever way the records of
// several shards take.
func TestCommutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := association.Defaults()
		o.Windows, o.Partners, o.Top = 2, 3, 2
		o.Neighbors.Rows = pairs.Options{Pane: 24 * event.Minute, HalfLife: event.Hour, Capacity: 2, Top: 2}
		recommendtest.Equal(t, func() *operator.Topology { return build(o) }, drawEvents(t))
	})
}

// A user who looks at a thousand items in five minutes makes no more work
// than one who looks at a hundred.
func TestCrawlerIsBounded(t *testing.T) {
	e := operatortest.New[event.Enriched](build(association.Defaults()), 1, 0, 0)
	n := 0
	e.Emitted = func(_, _ string, _ operator.Meta, record any) {
		if _, ok := record.(*association.Association); ok {
			n++
		}
	}
	for i := range 1000 {
		at := event.Time(i) * 200
		e.Send(at, &event.Enriched{Event: event.Event{User: "bot", Item: fmt.Sprint(i), Type: event.TypeView, Time: at}})
	}
	e.Watermark(event.Hour)
	e.Drain()
	if n != 100*99/2 {
		t.Errorf("%d associations, want those of 100 items", n)
	}
}

func FuzzReadAssociations(f *testing.F) {
	e := operatortest.New[event.Enriched](build(association.Defaults()), 1, 0, 0)
	for i, item := range []string{"a", "b", "c"} {
		at := event.Time(i)
		e.Send(at, &event.Enriched{Event: event.Event{User: "u", Item: item, Type: event.TypeView, Time: at}})
	}
	e.Watermark(event.Hour)
	e.Drain()
	seed, _ := e.Views()[association.ViewAssociations]["a"].AppendBinary(nil)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, src []byte) {
		a, err := association.ReadAssociations(src)
		if err != nil {
			return
		}
		b, _ := a.AppendBinary(nil)
		again, err := association.ReadAssociations(b)
		if err != nil {
			t.Fatal(err)
		}
		if b2, _ := again.AppendBinary(nil); !bytes.Equal(b, b2) {
			t.Fatal("not written the same again")
		}
	})
}

// FuzzLoad reads the states of both stages of the job.
func FuzzLoad(f *testing.F) {
	e := operatortest.New[event.Enriched](build(association.Defaults()), 1, 0, 0)
	for i, item := range []string{"a", "b", "a", "c"} {
		at := event.Time(i) * event.Minute * 2
		e.Send(at, &event.Enriched{Event: event.Event{User: "u", Item: item, Type: event.TypeView, Time: at}})
	}
	e.Drain()
	for stage, key := range map[string]string{association.StageWindows: "u", association.StageAssociation: "a"} {
		_, state, err := operator.SplitState(e.State()[stage][key])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(state, stage == association.StageWindows)
	}
	f.Fuzz(func(t *testing.T, src []byte, windows bool) {
		name := association.StageAssociation
		if windows {
			name = association.StageWindows
		}
		nodes := build(association.Defaults()).Nodes()
		i := slices.IndexFunc(nodes, func(n *operator.Node) bool { return n.Name == name })
		raw := nodes[i].NewRaw(operator.RawEnv{})
		state, again := raw.NewState(), raw.NewState()
		if raw.Load(1, src, state) != nil {
			return
		}
		b := raw.Append(nil, state)
		if err := raw.Load(1, b, again); err != nil || !bytes.Equal(raw.Append(nil, again), b) {
			t.Fatalf("written % x, read with %v", b, err)
		}
		raw.Answer("a", state)
	})
}
