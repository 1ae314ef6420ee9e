package heat

import (
	"fmt"
	"slices"
	"strings"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/recommend/decay"
)

// warm is an item's heat within a scope, as of its latest event.
type warm struct {
	Scope string
	Item  string
	Heat  [halfLives]decay.Value
	Last  event.Time
}

func (w *warm) hash() uint64 { return event.HashID(w.Item) }

// merge keeps the larger heat of the same item: the later one.
func (w *warm) merge(in *warm) bool {
	if w.Item != in.Item {
		return false
	}
	for k := range w.Heat {
		w.Heat[k] = max(w.Heat[k], in.Heat[k])
	}
	w.Last = max(w.Last, in.Last)
	return true
}

// boards are a scope's lists, one a half-life, over the items that are in any
// of them. Heat never falls, so an item only moves up when it is told of, and
// a list is kept in order at the price of a binary search.
type boards struct {
	entries []entry
	free    []int32          // entries that are not used
	at      map[string]int32 // entry by item
	lists   [halfLives]board
}

// board is one list of a scope, and what was last said of it.
type board struct {
	order []int32 // entries, hottest first
	// The places whose items have changed since the last answer.
	from, to int
	shown    *Trending // nil before the first answer
}

// touch notes that what stands at some places is not what it was.
func (l *board) touch(from, to int) {
	if l.from == l.to {
		l.from, l.to = from, to
	}
	l.from, l.to = min(l.from, from), max(l.to, to)
}

// has reports whether an entry is at place i.
func (l *board) has(i int, at int32) bool { return i < len(l.order) && l.order[i] == at }

// entry is an item of one or more lists. Where it is in no list of a
// half-life, that heat means nothing.
type entry struct {
	item  string
	hash  uint64 // of item
	heat  [halfLives]decay.Value
	last  event.Time
	lists int // how many it is in
}

// rank is where an item of that heat belongs in list k: the first place whose
// item does not come before it. Hotter items come first, ties by id.
func (b *boards) rank(k int, heat decay.Value, item string) int {
	i, _ := slices.BinarySearchFunc(b.lists[k].order, heat, func(at int32, heat decay.Value) int {
		e := &b.entries[at]
		switch {
		case e.heat[k] > heat:
			return -1
		case e.heat[k] < heat:
			return 1
		}
		return strings.Compare(e.item, item)
	})
	return i
}

// colder reports whether an item is colder than all of a full list.
func (b *boards) colder(k int, w *warm, most int) bool {
	order := b.lists[k].order
	return len(order) >= most && b.entries[order[len(order)-1]].heat[k] > w.Heat[k]
}

// put takes an item's heat and reports whether a list has changed. Full lists
// drop their last item for a hotter one.
func (b *boards) put(w *warm, most int) bool {
	var places [halfLives]int
	wanted := false
	for k := range b.lists {
		if places[k] = most; !b.colder(k, w, most) {
			places[k] = b.rank(k, w.Heat[k], w.Item)
			wanted = wanted || places[k] < most
		}
	}
	if !wanted {
		return false // colder than all that are in the full lists; so it is in none
	}
	at, ok := b.at[w.Item]
	if !ok {
		at = b.add(w.Item)
	}
	later := b.entries[at].last < w.Last
	b.entries[at].last = max(b.entries[at].last, w.Last)
	changed := later
	for k, place := range places {
		if place < most && b.place(k, place, at, w.Heat[k], later) {
			changed = true
			if len(b.lists[k].order) > most {
				b.drop(k)
			}
		}
	}
	return changed
}

// place puts an entry into list k at its new place, moving it up if it is
// there already, and reports whether it is another than before. later says
// that it has another time.
func (b *boards) place(k, place int, at int32, heat decay.Value, later bool) bool {
	e, l := &b.entries[at], &b.lists[k]
	from := b.rank(k, e.heat[k], e.item)
	switch {
	case e.lists == 0 || !l.has(from, at):
		l.order = slices.Insert(l.order, place, at)
		e.lists++
		l.touch(place, len(l.order))
	case heat > e.heat[k]:
		copy(l.order[place+1:from+1], l.order[place:from])
		l.order[place] = at
		l.touch(place, from+1)
	case later:
		l.touch(from, from+1)
		return false
	default:
		return false
	}
	e.heat[k] = heat
	return true
}

// drop takes the last item off list k.
func (b *boards) drop(k int) {
	l := &b.lists[k]
	last := len(l.order) - 1
	at := l.order[last]
	l.order = l.order[:last]
	e := &b.entries[at]
	e.heat[k] = 0
	if e.lists--; e.lists == 0 {
		delete(b.at, e.item)
		*e = entry{}
		b.free = append(b.free, at)
	}
}

// add makes an entry that is in no list yet.
func (b *boards) add(item string) int32 {
	if b.at == nil {
		b.at = map[string]int32{}
	}
	at, fresh := int32(len(b.entries)), entry{item: item, hash: event.HashID(item), last: event.MinTime}
	if n := len(b.free); n > 0 {
		at, b.free = b.free[n-1], b.free[:n-1]
		b.entries[at] = fresh
	} else {
		b.entries = append(b.entries, fresh)
	}
	b.at[item] = at
	return at
}

type trending struct {
	options Options
	view    *operator.ViewPort[*Trending]
}

// Fold puts an item in its place in the lists of a scope.
func (o *trending) Fold(c *operator.Context, _ string, b *boards, in *warm) {
	if !b.put(in, o.options.Kept) {
		c.Unchanged()
	}
}

// Timer is never called: lists change with their items only.
func (o *trending) Timer(*operator.Context, string, *boards, event.Time) {}

// Answer keeps those lists of the scope of which the part that is shown has
// changed.
func (o *trending) Answer(scope string, b *boards) {
	for k := range kept {
		key := TrendingKey(scope, kept[k])
		switch {
		case b == nil:
			o.view.Delete(key)
		case b.lists[k].shown == nil || b.lists[k].from < min(b.lists[k].to, o.options.Shown):
			o.view.Put(key, b.show(k, o.options.Shown))
		}
	}
}

// show is list k as it stands. What has not changed since the last time is
// shared with what was shown then.
func (b *boards) show(k, most int) *Trending {
	l := &b.lists[k]
	l.shown = l.shown.change(l.from, l.to, min(len(l.order), most), func(i int) Hot {
		e := &b.entries[l.order[i]]
		return Hot{Item: e.item, Heat: e.heat[k], Time: e.last, hash: e.hash}
	})
	l.from, l.to = 0, 0
	return l.shown
}

// Append writes each list in its order.
func (o *trending) Append(dst []byte, b *boards) []byte {
	for k := range b.lists {
		dst = wire.AppendUvarint(dst, uint64(len(b.lists[k].order)))
		for _, at := range b.lists[k].order {
			e := &b.entries[at]
			dst = Hot{Item: e.item, Heat: e.heat[k], Time: e.last}.append(dst)
		}
	}
	return dst
}

// Load reads what Append wrote.
func (o *trending) Load(version uint8, src []byte, b *boards) error {
	if version != stateVersion {
		return fmt.Errorf("trending: state: %w %d", event.ErrVersion, version)
	}
	r := wire.NewReader(src)
	for k := range b.lists {
		for range r.Count() {
			hot := readHot(r)
			at, ok := b.at[hot.Item]
			if !ok {
				at = b.add(hot.Item)
			}
			e := &b.entries[at]
			e.last, e.heat[k] = hot.Time, hot.Heat
			e.lists++
			b.lists[k].order = append(b.lists[k].order, at) // in order as it was written
		}
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("trending: state: %w", err)
	}
	return nil
}
