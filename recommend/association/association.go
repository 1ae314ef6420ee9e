package association

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/recommend/pairs"
)

// sumsVersion is the version of the form in which an item's sums are stored.
const sumsVersion = 1

// Association is a result of the job: within a window, summed over users, the
// products of how often Item was seen and Partner after it.
type Association struct {
	WindowStart event.Time `json:"window_start"`
	Item        string     `json:"item_id"`
	Partner     string     `json:"partner_id"`
	Association uint64     `json:"association"`
}

// addSums adds the stage that is keyed by item.
func addSums(in operator.Stream[Led], o Options) operator.Handle {
	return operator.Add(in, operator.Stage[string, item, Led]{
		Name:    StageAssociation,
		Subject: operator.SubjectItem,
		Version: sumsVersion,
		Key:     func(in *Led) string { return in.Item },
		Codec:   ledCodec(),
		New: func(p *operator.Ports) operator.Operator[string, item, Led] {
			return &sums{
				options: o, names: pairs.NewNames(),
				associations: operator.Out[Association](p, PortAssociations),
				view:         operator.View[*Associations](p, ViewAssociations),
			}
		},
	})
}

// item is what an item that leads has been associated with.
type item struct {
	closed []span   // the latest windows that have closed, in order of time
	sums   []sum    // theirs, one window after the other, each in no order
	open   []window // in order of time

	// What follows is derived, and not stored.

	pending bool     // a window has closed since the last answer
	top     []uint32 // the partners of the last answer
}

// span is a closed window and how many partners of it are kept.
type span struct {
	start event.Time
	n     int
}

// window is an open window of an item.
type window struct {
	start  event.Time
	sums   []sum // in no order and with repeats
	parts  int   // how many users' parts are in sums since repeats were added up, and 1 for what was before
	unique int   // the length of sums then
}

// sum is an association with a partner.
type sum struct {
	id uint32
	n  uint64
}

// sums is the operator of the item's stage.
type sums struct {
	options      Options
	names        *pairs.Names
	associations *operator.Output[Association]
	view         *operator.ViewPort[*Associations]

	free   [][]sum  // of windows that have closed, for new ones
	totals []uint64 // by partner: scratch, all 0 between calls
	met    []uint32 // scratch
	top    []sum    // scratch
}

// Fold adds a user's window.
func (o *sums) Fold(c *operator.Context, _ string, s *item, in *Led) {
	w := o.windowAt(c, s, in.WindowStart)
	w.parts++
	for _, k := range in.After {
		w.sums = append(w.sums, sum{o.names.ID(k.Item), uint64(in.Count) * uint64(k.Count)})
	}
	if len(w.sums) > 2*w.unique+256 {
		w.add()
	}
}

// windowAt is the open window that begins at a moment, a new one if need be.
func (o *sums) windowAt(c *operator.Context, s *item, start event.Time) *window {
	i := len(s.open)
	for i > 0 && s.open[i-1].start > start {
		i--
	}
	if i > 0 && s.open[i-1].start == start {
		return &s.open[i-1]
	}
	w := window{start: start}
	if n := len(o.free); n > 0 {
		w.sums, o.free = o.free[n-1], o.free[:n-1]
	}
	s.open = slices.Insert(s.open, i, w)
	o.options.await(c, start)
	return &s.open[i]
}

// add adds up repeats. A user's part has none.
func (w *window) add() {
	if w.parts > 1 {
		slices.SortFunc(w.sums, func(a, b sum) int { return cmp.Compare(a.id, b.id) })
		n := 0
		for _, k := range w.sums {
			if n > 0 && w.sums[n-1].id == k.id {
				w.sums[n-1].n = saturating(w.sums[n-1].n, k.n)
				continue
			}
			w.sums[n] = k
			n++
		}
		w.sums = w.sums[:n]
	}
	w.parts, w.unique = 1, len(w.sums)
}

// saturating is a+b, or the largest number if that is less; it commutes.
func saturating(a, b uint64) uint64 {
	n, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return n
}

// ProcessingTimer closes a window that goes by processing time: with the next
// block, as the users' parts of it come with the first block after its end.
func (o *sums) ProcessingTimer(c *operator.Context, key string, s *item, at event.Time) {
	o.Timer(c, key, s, at-1)
}

// Timer closes a window: every user's part of it has come.
func (o *sums) Timer(_ *operator.Context, key string, s *item, at event.Time) {
	if len(s.open) == 0 || s.open[0].start != at-o.options.Window+1 {
		return
	}
	w := s.open[0]
	s.open = slices.Delete(s.open, 0, 1)
	w.add()
	if o.associations.Connected() {
		o.sortByName(w.sums)
		for _, k := range w.sums {
			o.associations.Emit(at, Association{w.start, key, o.names.Name(k.id), k.n})
		}
	}
	if len(s.closed) == o.options.Windows {
		s.sums = slices.Delete(s.sums, 0, s.closed[0].n)
		s.closed = slices.Delete(s.closed, 0, 1)
	}
	strongest := w.sums
	if len(strongest) > o.options.Partners {
		slices.SortFunc(strongest, o.before)
		strongest = strongest[:o.options.Partners]
	}
	s.sums = append(s.sums, strongest...)
	s.closed = append(s.closed, span{w.start, len(strongest)})
	s.pending = true
	if len(o.free) < kept {
		o.free = append(o.free, w.sums[:0])
	}
}

// before is the order of a ranking: stronger first, ties by external id.
func (o *sums) before(a, b sum) int {
	if a.n != b.n {
		return cmp.Compare(b.n, a.n)
	}
	return o.names.Compare(a.id, b.id)
}

func (o *sums) sortByName(list []sum) {
	slices.SortFunc(list, func(a, b sum) int { return o.names.Compare(a.id, b.id) })
}

// Answer puts the strongest partners, if a window has closed.
func (o *sums) Answer(key string, s *item) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	if !s.pending {
		return
	}
	s.pending = false
	o.sumUp(s.sums)
	o.rank(s)
	a := &Associations{from: s.closed[0].start, list: make([]Associated, len(o.top))}
	a.to = s.closed[len(s.closed)-1].start + o.options.Window
	for i, k := range o.top {
		a.list[i] = Associated{o.names.Name(k.id), k.n}
	}
	o.view.Put(key, a)
}

// sumUp sums up by partner into totals, and lists in met which there are.
func (o *sums) sumUp(list []sum) {
	if need := o.names.Len() - len(o.totals); need > 0 {
		o.totals = append(o.totals, make([]uint64, need+len(o.totals)/4)...)
	}
	o.met = o.met[:0]
	for _, k := range list {
		if o.totals[k.id] == 0 {
			o.met = append(o.met, k.id)
		}
		o.totals[k.id] = saturating(o.totals[k.id], k.n)
	}
}

// rank makes the ranking of the strongest partners out of totals, which it
// clears. It begins with those of the last answer: then few of the others
// have to be put in their place.
func (o *sums) rank(s *item) {
	o.top = o.top[:0]
	for _, list := range [][]uint32{s.top, o.met} {
		for _, id := range list {
			if n := o.totals[id]; n > 0 {
				o.totals[id] = 0
				o.place(sum{id, n})
			}
		}
	}
	s.top = s.top[:0]
	for _, k := range o.top {
		s.top = append(s.top, k.id)
	}
}

// place puts a partner in its place in the ranking, if it has one.
func (o *sums) place(k sum) {
	if n := len(o.top); n == o.options.Top {
		if last := o.top[n-1]; k.n < last.n || o.before(last, k) < 0 {
			return
		}
		o.top = o.top[:n-1]
	}
	at, _ := slices.BinarySearchFunc(o.top, k, o.before)
	o.top = slices.Insert(o.top, at, k)
}

// Append appends an item's windows.
func (o *sums) Append(dst []byte, s *item) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(s.closed)))
	from := 0
	for _, w := range s.closed {
		dst = o.appendSums(wire.AppendVarint(dst, int64(w.start)), s.sums[from:from+w.n])
		from += w.n
	}
	dst = wire.AppendUvarint(dst, uint64(len(s.open)))
	for i := range s.open {
		w := &s.open[i]
		w.add()
		dst = o.appendSums(wire.AppendVarint(dst, int64(w.start)), w.sums)
	}
	return dst
}

// appendSums appends sums, which it sorts by external id.
func (o *sums) appendSums(dst []byte, list []sum) []byte {
	o.sortByName(list)
	dst = wire.AppendUvarint(dst, uint64(len(list)))
	for _, k := range list {
		dst = wire.AppendUvarint(wire.AppendString(dst, o.names.Name(k.id)), k.n)
	}
	return dst
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *sums) Load(version uint8, src []byte, s *item) error {
	if version != sumsVersion {
		return fmt.Errorf("association: sums of version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	for range r.Count() {
		start := event.Time(r.Varint())
		list := o.readSums(r)
		s.sums = append(s.sums, list...)
		s.closed = append(s.closed, span{start, len(list)})
		s.pending = true
	}
	for range r.Count() {
		start := event.Time(r.Varint())
		list := o.readSums(r)
		s.open = append(s.open, window{start: start, sums: list, parts: 1, unique: len(list)})
	}
	return r.End()
}

// readSums reads what appendSums wrote. Sums of 0 leave wire.ErrCorrupt in r.
func (o *sums) readSums(r *wire.Reader) []sum {
	var list []sum
	for range r.Count() {
		k := sum{o.names.ID(r.String()), r.Uvarint()}
		if k.n == 0 {
			r.Fail(wire.ErrCorrupt)
		}
		if r.Err() != nil {
			return nil
		}
		list = append(list, k)
	}
	return list
}
