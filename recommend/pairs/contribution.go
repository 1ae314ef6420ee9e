package pairs

import (
	"encoding/json"
	"slices"

	"millrace/event"
	"millrace/operator"
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
