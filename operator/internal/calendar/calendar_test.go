package calendar_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/operator/internal/calendar"
)

// times are such that buckets of a second have several, also before the epoch.
func times() *rapid.Generator[event.Time] {
	return rapid.Custom(func(t *rapid.T) event.Time {
		return event.Time(rapid.Int64Range(-3000, 6000).Draw(t, "at"))
	})
}

func sorted(list []calendar.Entry) []calendar.Entry {
	return slices.SortedFunc(slices.Values(list), func(a, b calendar.Entry) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Whose, b.Whose))
	})
}

// A calendar is a list that is kept sorted.
func TestCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q calendar.Calendar
		var all []calendar.Entry
		until := event.Time(-4000)
		for n := range rapid.IntRange(1, 300).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "step") > 0 {
				e := calendar.Entry{At: times().Draw(t, "at"), Whose: uint32(n)}
				q.Push(e)
				all = append(all, e)
				continue
			}
			until += event.Time(rapid.IntRange(0, 1500).Draw(t, "passed"))
			var due []calendar.Entry
			out := make([]calendar.Entry, rapid.IntRange(1, 5).Draw(t, "room"))
			last := event.MinTime
			for q.Due(until) {
				popped := out[:q.PopSame(out)]
				for _, e := range popped {
					if e.At != popped[0].At || e.At < last {
						t.Fatalf("%v after %v", popped, last)
					}
				}
				last = popped[0].At
				due = append(due, popped...)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(e calendar.Entry) bool { return e.At > until })
			if !slices.Equal(sorted(due), sorted(want)) {
				t.Fatalf("until %d: got %v, want %v", until, sorted(due), sorted(want))
			}
			all = slices.DeleteFunc(all, func(e calendar.Entry) bool { return e.At <= until })
		}
	})
}

func TestDue(t *testing.T) {
	var q calendar.Calendar
	if q.Due(event.MaxTime) {
		t.Error("an empty calendar has something due")
	}
	q.Push(calendar.Entry{At: 5000})
	for until, want := range map[event.Time]bool{event.MinTime: false, 4999: false, 5000: true, event.MaxTime: true} {
		if got := q.Due(until); got != want {
			t.Errorf("Due(%d) is %v", until, got)
		}
	}
	q.Push(calendar.Entry{At: 4000, Whose: 1}) // before the bucket that Due has opened
	if e := q.Pop(); e.Whose != 1 {
		t.Errorf("popped %v first", e)
	}
	if e := q.Pop(); e.At != 5000 {
		t.Errorf("popped %v second", e)
	}
}

// Lists are sets of times, and those that were cleared are used again.
func TestLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lists calendar.Lists
		var ids [3]uint32
		var want [3]map[event.Time]bool
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, 2).Draw(t, "list")
			if want[i] == nil {
				want[i] = map[event.Time]bool{}
			}
			at := event.Time(rapid.IntRange(0, 6).Draw(t, "at"))
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				ids[i] = lists.Clear(ids[i])
				clear(want[i])
			case 1:
				var found bool
				if ids[i], found = lists.Remove(ids[i], at); found != want[i][at] {
					t.Fatalf("list %d: found %d: %v", i, at, found)
				}
				delete(want[i], at)
			default:
				ids[i] = lists.Insert(ids[i], at)
				want[i][at] = true
			}
			for j, id := range ids {
				var all []event.Time
				for at := range want[j] {
					all = append(all, at)
				}
				slices.Sort(all)
				if !slices.Equal(all, lists.Of(id)) || (id == 0) != (len(all) == 0) {
					t.Fatalf("list %d is %v (id %d), want %v", j, lists.Of(id), id, all)
				}
			}
		}
	})
}
