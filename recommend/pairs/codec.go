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
	dst = wire.AppendBool(dst, r.begun)
	dst = wire.AppendVarint(dst, r.base)
	dst = wire.AppendVarint(dst, int64(r.through))
	dst = appendFloat32(dst, r.total)
	slices.SortFunc(r.weights, func(x, y partner) int { return b.names.Compare(x.id, y.id) })
	dst = wire.AppendUvarint(dst, uint64(len(r.weights)))
	for _, k := range r.weights {
		dst = appendFloat32(wire.AppendString(dst, b.names.Name(k.id)), k.weight)
	}
	dst = wire.AppendUvarint(dst, uint64(len(r.panes)))
	for i := range r.panes {
		p := &r.panes[i]
		dst = wire.AppendVarint(dst, int64(p.start-r.through))
		dst = wire.AppendUvarint(dst, uint64(p.end-p.start))
		dst = wire.AppendUvarint(dst, p.sum)
		dst = b.appendCounts(dst, &p.counts)
	}
	return dst
}

// appendCounts appends the counts that are not 0, in order of external id.
func (b *Book) appendCounts(dst []byte, t *table) []byte {
	b.order = b.order[:0]
	for _, c := range t.cells {
		if c.count != 0 {
			b.order = append(b.order, c.id)
		}
	}
	slices.SortFunc(b.order, b.names.Compare)
	dst = wire.AppendUvarint(dst, uint64(len(b.order)))
	for _, id := range b.order {
		dst = wire.AppendUvarint(wire.AppendString(dst, b.names.Name(id)), uint64(t.find(id).count))
	}
	return dst
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
	b.readPartners(r, func(id uint32) bool {
		row.weights = append(row.weights, partner{id, readFloat32(r)})
		return row.weights[len(row.weights)-1].weight > 0
	})
	n := r.Count()
	for range n {
		start := row.through + event.Time(r.Varint())
		p := b.newPane(start, start+event.Time(r.Uvarint()), b.settled(row, start))
		p.sum = r.Uvarint()
		b.readPartners(r, func(id uint32) bool {
			n := r.Uvarint()
			p.counts.add(id, uint32(n), &b.pool)
			return n > 0 && n <= math.MaxUint32
		})
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

// readPartners reads a list of partners in ascending order of external id and
// calls one for each, which reads the rest and says whether it can be. What
// cannot be leaves wire.ErrCorrupt in r.
func (b *Book) readPartners(r *wire.Reader, one func(id uint32) bool) {
	last := ""
	for i := range r.Count() {
		name := r.String()
		if !one(b.names.ID(name)) || i > 0 && name <= last {
			r.Fail(wire.ErrCorrupt)
		}
		if r.Err() != nil {
			return
		}
		last = name
	}
}
