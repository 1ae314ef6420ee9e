package window_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// wideWindows are windows of many sizes that share panes, given as size and
// slide.
func wideWindows(random *rand.Rand) (list [][2]event.Duration) {
	for range 1 + random.IntN(4) {
		size := event.Duration(1 + random.IntN(400))
		slide := size
		if random.IntN(3) > 0 {
			slide = event.Duration(1 + random.IntN(400))
		}
		list = append(list, [2]event.Duration{size, slide})
	}
	return list
}

// Windows of any sizes that share panes, also of hundreds of panes, hold what
// they do by definition. An input that none takes is late unless it is ahead of
// time.
func TestSharedWindowsByDefinition(t *testing.T) {
	for seed := range uint64(300) {
		for _, combine := range []bool{false, true} {
			sharedByDefinition(t, seed, combine)
		}
	}
}

// wideTopology is one stage of windows.
func wideTopology(list [][2]event.Duration, combine bool) *operator.Topology {
	topology, source := operator.NewTopology[visit]()
	spec := window.Spec[uint64, visit, int64, string]{
		Name: "windows", Key: byNumber, Combine: combine,
		Add: func(a *int64, in *visit) { *a += in.Value }, Merge: func(into, from *int64) { *into += *from },
		Result: func(w window.Window[uint64], a *int64, emit func(string)) {
			emit(fmt.Sprint(w.Index, w.Key, int64(w.Start), int64(w.End), *a))
		},
		Accumulator: codec.Int64[int64](),
	}
	for i, w := range list {
		assigner := window.Sliding(w[0], w[1])
		if i == 0 {
			spec.Windows = assigner
		} else {
			spec.More = append(spec.More, assigner)
		}
	}
	window.Add(source, spec)
	return topology
}

// definition is what windows hold by definition, and what is late.
type definition struct {
	list [][2]event.Duration
	sums map[[4]int64]int64 // by windows, key, start and end
	late []string
}

// input adds an input that comes when time has come to mark.
func (d *definition) input(at, mark event.Time, v *visit) {
	taken := false
	for set, w := range d.list {
		for start := at - w[0] + 1; start <= at; start++ {
			if start%w[1] == 0 && start+w[0]-1 > mark {
				taken = true
				d.sums[[4]int64{int64(set), int64(v.Who), int64(start), int64(start + w[0])}] += v.Value
			}
		}
	}
	if !taken && at <= mark {
		d.late = append(d.late, fmt.Sprint(v.Value))
	}
}

func sharedByDefinition(t *testing.T, seed uint64, combine bool) {
	random := rand.New(rand.NewPCG(seed, 5))
	list := wideWindows(random)
	var got, want, late []string
	bound := event.Duration(random.IntN(300))
	e := operatortest.New[visit](wideTopology(list, combine), 1+random.IntN(4), bound, seed)
	marks := watermark.NewBoundedOutOfOrderness(bound)
	e.Emitted = func(_, port string, _ operator.Meta, record any) {
		if port == window.PortLate {
			late = append(late, fmt.Sprint(record.(*visit).Value))
			return
		}
		got = append(got, *record.(*string))
	}
	d := definition{list: list, sums: map[[4]int64]int64{}}
	top := event.Time(random.IntN(4000) - 2000)
	for i := range 400 {
		at := top + event.Time(random.IntN(60)-30)
		if random.IntN(10) == 0 {
			at -= event.Time(random.IntN(1500))
		}
		top = max(top, at)
		v := visit{Who: uint64(random.IntN(2)), Value: int64(1) << random.IntN(40)}
		v.Value += int64(i)
		mark := operator.Stamp(marks, at).Watermark
		e.Send(at, &v)
		d.input(at, mark, &v)
	}
	e.Watermark(event.MaxTime)
	e.Drain()
	for w, sum := range d.sums {
		want = append(want, fmt.Sprint(w[0], w[1], w[2], w[3], sum))
	}
	slices.Sort(got)
	slices.Sort(want)
	slices.Sort(late)
	slices.Sort(d.late)
	if !slices.Equal(got, want) || !slices.Equal(late, d.late) {
		t.Fatalf("seed %d, windows %v, combined %v: got %d results and %d late, want %d and %d", seed, list, combine, len(got), len(late), len(want), len(d.late))
	}
}
