package pairs

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"millrace/event"
	"millrace/event/wire"
)

// Partners is what goes with an item: its partners of most weight, in
// descending order, equal ones by id. It is immutable and safe for concurrent
// use.
type Partners struct {
	asOf   event.Time
	names  []string // by number
	hashes []uint64 // of names
	list   []ranked
	total  float32 // weight of all pairs, in the units of list
	unit   float32 // the weight of one pair at distance 1 at asOf
}

// Partners is the answer of a row, as it stands.
func (b *Book) Partners(r *Row) *Partners {
	b.rank(r)
	base, _ := b.plan(r)
	a := &Partners{names: b.names.Names(), hashes: b.names.Hashes(), list: slices.Clone(r.top), total: r.total}
	at := r.through
	for _, c := range b.closings {
		sum := uint64(0)
		for i := c.from; i < c.to; i++ {
			sum += r.panes[i].sum
		}
		a.total = c.after(a.total, float32(sum))
		at = r.panes[c.from].start
	}
	last, _ := stepOver(base, true, &pane{growth: b.growthAt(at)})
	a.unit = float32(last.growth * One)
	a.asOf = event.WindowStart(at, b.options.Pane)
	return a
}

// AsOf is the start of the latest pane that has pairs: the time that weights
// are decayed to.
func (a *Partners) AsOf() event.Time { return a.asOf }

// Total is the decayed weight of all of the item's pairs, as of AsOf: 1 is
// one pair of neighbours in a trail, just now. Partners that are not ranked
// count too.
func (a *Partners) Total() float64 { return float64(a.total) / float64(a.unit) }

// Len is how many partners there are.
func (a *Partners) Len() int { return len(a.list) }

// Item is the id of the partner at rank i, from 0.
func (a *Partners) Item(i int) string { return a.names[a.list[i].id()] }

// Hash is event.HashID of the partner at rank i.
func (a *Partners) Hash(i int) uint64 { return a.hashes[a.list[i].id()] }

// Weight is the decayed weight of the pairs with the partner at rank i, as of
// AsOf, in the units of Total.
func (a *Partners) Weight(i int) float64 { return float64(a.list[i].weight()) / float64(a.unit) }

// Score is the part of Total that the partner at rank i has: above 0, at most 1.
func (a *Partners) Score(i int) float64 { return float64(a.list[i].weight()) / float64(a.total) }

// AppendBinary writes the answer; ReadPartners reads it. It never fails.
func (a *Partners) AppendBinary(dst []byte) ([]byte, error) {
	dst = wire.AppendVarint(dst, int64(a.asOf))
	dst = appendFloat32(appendFloat32(dst, a.unit), a.total)
	dst = wire.AppendUvarint(dst, uint64(len(a.list)))
	for i, k := range a.list {
		dst = appendFloat32(wire.AppendString(dst, a.Item(i)), k.weight())
	}
	return dst, nil
}

// ReadPartners reads what AppendBinary wrote. Its error is wire.ErrCorrupt.
func ReadPartners(b []byte) (*Partners, error) {
	r := wire.NewReader(b)
	a := &Partners{asOf: event.Time(r.Varint()), unit: readFloat32(r), total: readFloat32(r)}
	n := r.Count()
	for i := range n {
		name := r.String()
		a.names, a.hashes = append(a.names, name), append(a.hashes, event.HashID(name))
		a.list = append(a.list, rank(uint32(i), readFloat32(r)))
		if r.Err() != nil {
			break
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return a, nil
}

func appendFloat32(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// readFloat32 reads a weight: a positive number, or 0. Anything else leaves
// wire.ErrCorrupt in r.
func readFloat32(r *wire.Reader) float32 {
	var b [4]byte
	for i := range b {
		b[i] = r.Byte()
	}
	v := math.Float32frombits(binary.LittleEndian.Uint32(b[:]))
	if !(v >= 0 && v <= math.MaxFloat32) || math.Signbit(float64(v)) {
		r.Fail(wire.ErrCorrupt)
		return 0
	}
	return v
}

// MarshalJSON writes
// {"as_of":"...","total":2.5,"partners":[{"item_id":"a","score":0.4,"weight":1}]},
// numbers to six digits.
func (a *Partners) MarshalJSON() ([]byte, error) {
	type partner struct {
		Item   string      `json:"item_id"`
		Score  json.Number `json:"score"`
		Weight json.Number `json:"weight"`
	}
	list := make([]partner, a.Len())
	for i := range list {
		list[i] = partner{a.Item(i), number(a.Score(i)), number(a.Weight(i))}
	}
	return json.Marshal(struct {
		AsOf     string      `json:"as_of"`
		Total    json.Number `json:"total"`
		Partners []partner   `json:"partners"`
	}{a.asOf.String(), number(a.Total()), list})
}

func number(v float64) json.Number { return json.Number(strconv.FormatFloat(v, 'g', 6, 64)) }
