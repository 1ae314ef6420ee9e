package pairs

import (
	"encoding/json"
	"math"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// One is the weight of a pair at distance 1, in the units of Pair.Weight.
const One = 4096

// weight is what a pair at a distance weighs, in units of 1/One, rounded.
func weight(distance int) uint32 { return uint32((One + distance/2) / distance) }

// Contribution is what a row is told: its item goes with these partners. A
// row's partners are external ids; in memory a contribution has their numbers
// in a table of its sender's, which it refers to (List).
type Contribution struct {
	// Item is the row's item.
	Item string
	// Slice is the start of the slice of time in which the pairs count.
	Slice event.Time

	terms *Terms
	first term   // here, so that a single pair takes no memory of its own
	more  []term // the others
}

// term is a partner, by its sender's number, and what the pair weighs.
type term struct{ id, weight uint32 }

// Pair is a partner and what the pair weighs, at most One, decayed to the time
// at which it counts.
type Pair struct {
	Partner string `json:"item_id"`
	Weight  uint32 `json:"weight"`
}

// Terms are a sender's numbers of partners at a moment. They do not change:
// numbers that are given later are in later Terms.
type Terms struct {
	sender *Names
	names  []string
}

// NewContribution makes a contribution of pairs, of which there is at least
// one. Partners are not the item; they may repeat.
func NewContribution(sender *Names, item string, slice event.Time, pairs ...Pair) Contribution {
	list := make([]term, len(pairs))
	for i, p := range pairs {
		list[i] = term{sender.ID(p.Partner), p.Weight}
	}
	return Contribution{Item: item, Slice: slice, terms: sender.Terms(), first: list[0], more: list[1:]}
}

// List are the pairs.
func (c *Contribution) List() []Pair {
	list := []Pair{{c.terms.names[c.first.id], c.first.weight}}
	for _, t := range c.more {
		list = append(list, Pair{c.terms.names[t.id], t.weight})
	}
	return list
}

// MarshalJSON writes {"item_id":"a","pairs":[{"item_id":"b","weight":4096}]}.
func (c *Contribution) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Item  string `json:"item_id"`
		Pairs []Pair `json:"pairs"`
	}{c.Item, c.List()})
}

// combiner merges the contributions to a row and slice that one shard makes
// of a block: an item that many users have just turned to, or that a user has
// turned to many others after, is told once.
var combiner = operator.Combiner[Contribution]{
	Hash: func(in *Contribution) uint64 { return uint64(in.Slice) },
	Merge: func(into, in *Contribution) bool {
		if into.Slice != in.Slice || into.terms.sender != in.terms.sender {
			return false
		}
		if len(in.terms.names) > len(into.terms.names) {
			into.terms = in.terms
		}
		if cap(into.more)-len(into.more) <= len(in.more) {
			into.more = slices.Grow(into.more, max(24, len(into.more), 1+len(in.more)))
		}
		into.more = append(append(into.more, in.first), in.more...)
		return true
	},
}

// termsRead is how many terms memory is taken for at a time.
const termsRead = 1 << 10

// contributionCodec is how contributions cross to another process: with the ids
// of the partners. What is read has the numbers of a sender of its own.
func contributionCodec() *codec.Codec[Contribution] {
	items, sender := codec.Interned[string](), NewNames()
	var free []term
	read := func(r *wire.Reader) term {
		id, weight := sender.IDOf(r.Bytes()), r.Uvarint()
		if weight > math.MaxUint32 {
			r.Fail(wire.ErrCorrupt)
		}
		return term{id, uint32(weight)}
	}
	return &codec.Codec[Contribution]{
		Append: func(dst []byte, c *Contribution) []byte {
			dst = wire.AppendVarint(wire.AppendString(dst, c.Item), int64(c.Slice))
			dst = wire.AppendUvarint(dst, uint64(len(c.more)))
			dst = wire.AppendUvarint(wire.AppendString(dst, c.terms.names[c.first.id]), uint64(c.first.weight))
			for _, t := range c.more {
				dst = wire.AppendUvarint(wire.AppendString(dst, c.terms.names[t.id]), uint64(t.weight))
			}
			return dst
		},
		Load: func(r *wire.Reader, c *Contribution) {
			items.Load(r, &c.Item)
			c.Slice = event.Time(r.Varint())
			n := r.Count()
			c.first = read(r)
			if n > len(free) {
				free = make([]term, max(n, termsRead))
			}
			c.more, free = free[:n:n], free[n:]
			for i := range c.more {
				c.more[i] = read(r)
			}
			c.terms = sender.Terms()
		},
	}
}
