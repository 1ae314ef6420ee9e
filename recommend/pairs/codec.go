package pairs

import (
	"fmt"
	"math"
	"slices"

	"millrace/event"
	"millrace/event/wire"
)

// rowVersion is the version of the form in which rows are stored.
const rowVersion = 1

// Append appends a row's bytes.
func (b *Book) Append(dst []byte, r *Row) []byte {
	b.settle(r)
	dst = wire.AppendBool(dst, r.begun)
	dst = wire.AppendVarint(dst, r.base)
	dst = wire.AppendVarint(dst, int64(r.through))
	dst = appendFloat32(dst, r.total)
	dst = wire.AppendUvarint(dst, uint64(r.weights.used))
	for _, id := range sorted(b, &r.weights) {
		dst = appendFloat32(wire.AppendString(dst, b.names.Name(id)), r.weights.get(id))
	}
	dst = wire.AppendUvarint(dst, uint64(len(r.panes)))
	for i := range r.panes {
		p := &r.panes[i]
		dst = wire.AppendVarint(dst, int64(p.start-r.through))
		dst = wire.AppendUvarint(dst, uint64(p.end-p.start))
		dst = wire.AppendUvarint(dst, p.sum)
		dst = wire.AppendUvarint(dst, uint64(p.counts.used))
		for _, id := range sorted(b, &p.counts) {
			dst = wire.AppendUvarint(wire.AppendString(dst, b.names.Name(id)), uint64(p.counts.get(id)))
		}
	}
	return dst
}

// sorted are the partners of a table in order of external id. The slice is
// valid until the next call.
func sorted[V uint32 | float32](b *Book, t *table[V]) []uint32 {
	b.order = b.order[:0]
	for _, c := range t.cells {
		if c.id != 0 {
			b.order = append(b.order, c.id)
		}
	}
	slices.SortFunc(b.order, b.names.Compare)
	return b.order
}

// Load reads what Append wrote into a zero row. Its errors are
// event.ErrVersion and wire.ErrCorrupt.
func (b *Book) Load(version uint8, src []byte, row *Row) error {
	if version != rowVersion {
		return fmt.Errorf("pairs: a row of version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	row.begun = r.Bool()
	row.base = r.Varint()
	row.through = event.Time(r.Varint())
	row.total = readFloat32(r)
	readTable(b, r, &row.weights, &b.weights, func() float32 { return readFloat32(r) })
	n := r.Count()
	for range n {
		start := row.through + event.Time(r.Varint())
		p := b.newPane(start, start+event.Time(r.Uvarint()))
		p.sum = r.Uvarint()
		readTable(b, r, &p.counts, &b.counts, func() uint32 {
			v := r.Uvarint()
			if v > math.MaxUint32 {
				r.Fail(wire.ErrCorrupt)
			}
			return uint32(v)
		})
		if b.settled(row, start) {
			p.crowded = b.options.fresh()
		}
		if last := len(row.panes) - 1; p.end < p.start || last >= 0 && row.panes[last].end >= p.start {
			r.Fail(wire.ErrCorrupt)
		}
		if r.Err() != nil {
			break
		}
		row.panes = append(row.panes, p)
	}
	row.stale, row.pending = true, true
	return r.End()
}

// readTable reads a table whose ids are in ascending order and whose values
// are not 0; anything else leaves wire.ErrCorrupt in r.
func readTable[V uint32 | float32](b *Book, r *wire.Reader, t *table[V], p *pool[V], value func() V) {
	n := r.Count()
	if n > 0 && r.Err() == nil {
		t.resize(cellsFor(n), p)
	}
	last := ""
	for i := range n {
		name, v := r.String(), value()
		if v == 0 || i > 0 && name <= last {
			r.Fail(wire.ErrCorrupt)
		}
		if r.Err() != nil {
			return
		}
		*t.insert(b.names.ID(name), p) = v
		last = name
	}
}
