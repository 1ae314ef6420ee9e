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

// boards are a scope's lists, one a half-life.
type boards [halfLives]board

// board is the hottest items by one half-life, in no order.
type board struct {
	entries []entry
	at      map[string]int32 // position by item
	least   int32            // the position of the last in order, when the board is full
	changed bool             // since the last answer
}

// entry is an item of a board.
type entry struct {
	item string
	heat decay.Value
	last event.Time
}

// before is the order of a list: hotter first, ties by id.
func (e *entry) before(o *entry) int {
	switch {
	case e.heat > o.heat:
		return -1
	case e.heat < o.heat:
		return 1
	}
	return strings.Compare(e.item, o.item)
}

// put takes an item's heat. A full board drops its last item for a hotter one.
func (b *board) put(e entry, most int) bool {
	full := len(b.entries) >= most
	if full && e.before(&b.entries[b.least]) > 0 {
		return false // colder than all that are here; if it were here it would not be
	}
	if i, ok := b.at[e.item]; ok {
		have := &b.entries[i]
		if e.heat <= have.heat && e.last <= have.last {
			return false
		}
		have.heat, have.last = max(have.heat, e.heat), max(have.last, e.last)
		if full && i == b.least {
			b.findLeast()
		}
		b.changed = true
		return true
	}
	if b.at == nil {
		b.at = map[string]int32{}
	}
	b.changed = true
	if !full {
		b.at[e.item] = int32(len(b.entries))
		b.entries = append(b.entries, e)
		if len(b.entries) == most {
			b.findLeast()
		}
		return true
	}
	delete(b.at, b.entries[b.least].item)
	b.entries[b.least] = e
	b.at[e.item] = b.least
	b.findLeast()
	return true
}

func (b *board) findLeast() {
	b.least = 0
	for i := range b.entries {
		if b.entries[i].before(&b.entries[b.least]) > 0 {
			b.least = int32(i)
		}
	}
}

// sorted is the board in order, in the memory of scratch.
func (b *board) sorted(scratch []entry) []entry {
	list := append(scratch[:0], b.entries...)
	slices.SortFunc(list, func(x, y entry) int { return x.before(&y) })
	return list
}

type trending struct {
	options Options
	view    *operator.ViewPort[*Trending]
	scratch []entry
}

func (o *trending) Fold(c *operator.Context, _ string, s *boards, in *warm) {
	changed := false
	for k := range s {
		if s[k].put(entry{in.Item, in.Heat[k], in.Last}, o.options.Kept) {
			changed = true
		}
	}
	if !changed {
		c.Unchanged()
	}
}

func (o *trending) Timer(*operator.Context, string, *boards, event.Time) {}

func (o *trending) Answer(scope string, s *boards) {
	for k := range kept {
		key := TrendingKey(scope, kept[k])
		if s == nil {
			o.view.Delete(key)
			continue
		}
		if !s[k].changed {
			continue
		}
		s[k].changed = false
		o.scratch = s[k].sorted(o.scratch)
		list := &Trending{Items: make([]Hot, min(len(o.scratch), o.options.Shown))}
		for i := range list.Items {
			e := &o.scratch[i]
			list.Items[i] = Hot{Item: e.item, Heat: e.heat, Time: e.last}
		}
		o.view.Put(key, list)
	}
}

func (o *trending) Append(dst []byte, s *boards) []byte {
	for k := range s {
		o.scratch = s[k].sorted(o.scratch)
		dst = wire.AppendUvarint(dst, uint64(len(o.scratch)))
		for i := range o.scratch {
			dst = o.scratch[i].append(dst)
		}
	}
	return dst
}

func (e *entry) append(dst []byte) []byte {
	dst = wire.AppendString(dst, e.item)
	dst = wire.AppendUint64(dst, uint64(e.heat))
	return wire.AppendVarint(dst, int64(e.last))
}

func (o *trending) Load(version uint8, src []byte, s *boards) error {
	if version != stateVersion {
		return fmt.Errorf("trending: state: %w %d", event.ErrVersion, version)
	}
	r := wire.NewReader(src)
	for k := range s {
		for range r.Count() {
			s[k].put(entry{r.String(), decay.Value(r.Uint64()), event.Time(r.Varint())}, o.options.Kept)
		}
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("trending: state: %w", err)
	}
	return nil
}
