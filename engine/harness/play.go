package harness

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

const (
	playBlocks   = 10 // blocks get this much smaller than what is left, at most
	playRestores = 6  // one block in so many is followed by a restore
	playShards   = 5  // into at most so many shards
)

// Play sends records, to partitions at random. Blocks end at random records,
// and now and then all engines go on from a snapshot, with another number of
// shards. The seed decides; results must not depend on it.
func (h *Harness[T]) Play(seed uint64, records []Record[T]) {
	h.t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	for len(records) > 0 {
		n := min(len(records), 1+random.IntN(1+len(records)/(1+random.IntN(playBlocks))))
		for _, r := range records[:n] {
			h.SendTo(random.IntN(h.options.Partitions), r.Time, r.Record)
		}
		records = records[n:]
		h.Flush()
		if random.IntN(playRestores) == 0 {
			emitted := h.emitted
			h.Restore(h.Snapshot(), 1+random.IntN(playShards))
			h.emitted = emitted
		}
	}
}

// Rows are what all ports have emitted since they were asked for last, sorted:
// "TIME RECORD" by "STAGE.PORT".
func (h *Harness[T]) Rows() map[string][]string {
	h.t.Helper()
	h.Flush()
	rows := map[string][]string{}
	for port, list := range byPort(h.emitted) {
		for _, e := range list {
			rows[port] = append(rows[port], fmt.Sprintf("%d %+v", e.time, e.record))
		}
		slices.Sort(rows[port])
	}
	h.emitted = nil
	return rows
}
