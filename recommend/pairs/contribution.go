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

// Pair is a partner and what the pair weighs, at most One, decayed to the time
// at which it counts.
type Pair struct {
	Partner string `json:"item_id"`
	Weight  uint32 `json:"weight"`
}

// Contribution is what a row is told: its item goes with these partners.
// Partners are not the item; they may repeat.
type Contribution struct {
	// Item is the row's item.
	Item string
	// Slice is the start of the slice of time in which the pairs count.
	Slice event.Time
	// First is the first pair, here so that a single pair takes no memory of
	// its own, and More are the others.
	First Pair
	More  []Pair
}

// MarshalJSON writes {"item_id":"a","pairs":[{"item_id":"b","weight":4096}]}.
func (c *Contribution) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Item  string `json:"item_id"`
		Pairs []Pair `json:"pairs"`
	}{c.Item, append([]Pair{c.First}, c.More...)})
}

// combiner merges the contributions to a row and slice that one shard makes
// of a block: an item that many users have just turned to, or that a user has
// turned to many others after, is told once.
var combiner = operator.Combiner[Contribution]{
	Hash: func(in *Contribution) uint64 { return uint64(in.Slice) },
	Merge: func(into, in *Contribution) bool {
		if into.Slice != in.Slice {
			return false
		}
		if cap(into.More)-len(into.More) <= len(in.More) {
			into.More = slices.Grow(into.More, max(16, len(into.More), 1+len(in.More)))
		}
		into.More = append(append(into.More, in.First), in.More...)
		return true
	},
}
