package heat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

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

func (w *warm) hash() uint64 { return xxhash.Sum64String(w.Item) }

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
	lists   [halfLives][]int32
	changed bool // since the last answer
}

// entry is an item of one or more lists. Where it is in no list of a
// half-life, that heat means nothing.
type entry struct {
	item  string
	heat  [halfLives]decay.Value
	last  event.Time
	lists int // how many it is in
}

// rank is where an item of that heat belongs in list k: the first place whose
// item does not come before it. Hotter items come first, ties by id.
func (b *boards) rank(k int, heat decay.Value, item string) int {
	i, _ := slices.BinarySearchFunc(b.lists[k], heat, func(at int32, heat decay.Value) int {
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
	n := len(b.lists[k])
	return n >= most && b.entries[b.lists[k][n-1]].heat[k] > w.Heat[k]
}

// has reports whether entry at is at place i of list k.
func (b *boards) has(k, i int, at int32) bool { return i < len(b.lists[k]) && b.lists[k][i] == at }

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
	changed := b.entries[at].last < w.Last
	b.entries[at].last = max(b.entries[at].last, w.Last)
	for k, place := range places {
		if place < most && b.place(k, place, at, w.Heat[k]) {
			changed = true
			if len(b.lists[k]) > most {
				b.drop(k)
			}
		}
	}
	b.changed = b.changed || changed
	return changed
}

// place puts an entry into list k at its new place, moving it up if it is
// there already, and reports whether anything has changed.
func (b *boards) place(k, place int, at int32, heat decay.Value) bool {
	e := &b.entries[at]
	from := b.rank(k, e.heat[k], e.item)
	if e.lists > 0 && b.has(k, from, at) {
		if heat <= e.heat[k] {
			return false
		}
		copy(b.lists[k][place+1:from+1], b.lists[k][place:from])
		b.lists[k][place] = at
	} else {
		b.lists[k] = slices.Insert(b.lists[k], place, at)
		e.lists++
	}
	e.heat[k] = heat
	return true
}

// drop takes the last item off list k.
func (b *boards) drop(k int) {
	last := len(b.lists[k]) - 1
	at := b.lists[k][last]
	b.lists[k] = b.lists[k][:last]
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
	at := int32(len(b.entries))
	if n := len(b.free); n > 0 {
		at, b.free = b.free[n-1], b.free[:n-1]
		b.entries[at] = entry{item: item, last: event.MinTime}
	} else {
		b.entries = append(b.entries, entry{item: item, last: event.MinTime})
	}
	b.at[item] = at
	return at
}

type trending struct {
	options Options
	view    *operator.ViewPort[*Trending]
}

func (o *trending) Fold(c *operator.Context, _ string, b *boards, in *warm) {
	if !b.put(in, o.options.Kept) {
		c.Unchanged()
	}
}

func (o *trending) Timer(*operator.Context, string, *boards, event.Time) {}

func (o *trending) Answer(scope string, b *boards) {
	if b != nil && !b.changed {
		return
	}
	for k := range kept {
		key := TrendingKey(scope, kept[k])
		if b == nil {
			o.view.Delete(key)
			continue
		}
		list := &Trending{Items: make([]Hot, min(len(b.lists[k]), o.options.Shown))}
		for i := range list.Items {
			e := &b.entries[b.lists[k][i]]
			list.Items[i] = Hot{Item: e.item, Heat: e.heat[k], Time: e.last}
		}
		o.view.Put(key, list)
	}
	if b != nil {
		b.changed = false
	}
}

func (o *trending) Append(dst []byte, b *boards) []byte {
	for k := range b.lists {
		dst = wire.AppendUvarint(dst, uint64(len(b.lists[k])))
		for _, at := range b.lists[k] {
			e := &b.entries[at]
			dst = Hot{e.item, e.heat[k], e.last}.append(dst)
		}
	}
	return dst
}

func (o *trending) Load(version uint8, src []byte, b *boards) error {
	if version != stateVersion {
		return fmt.Errorf("trending: state: %w %d", event.ErrVersion, version)
	}
	b.changed = true
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
			b.lists[k] = append(b.lists[k], at) // in order as it was written
		}
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("trending: state: %w", err)
	}
	return nil
}
