package operator

import "millrace/internal/hashindex"

// Exchange carries records from shards of one stage to shards of another, by
// key. Sender i is used by shard i only; Deliver is called when all senders
// of the block are done.
type Exchange interface {
	// Sender is a func(Meta, *I) through which one sending shard emits.
	Sender(from int) any
	// Deliver folds what has been sent to a shard into its table, sender by
	// sender, and empties the buffers.
	Deliver(to int, into Table)
	// Pending is how many records wait for a shard.
	Pending(to int) int
}

// row is a record in flight.
type row[I any] struct {
	Meta
	record I
}

// keptRows bounds the buffer of a lane that is kept between blocks, in rows: a
// block of an import fills it, and making it anew would cost more than its
// records.
const keptRows = 1 << 17

type exchange[K Key, I any] struct {
	key     func(*I) K
	combine *Combiner[I]
	to      int
	lanes   [][]lane[I] // by sender, by receiver
}

// lane is what one sender has for one receiver. seen finds a record that a
// new one may be merged with, by hash of key and combiner.
type lane[I any] struct {
	rows []row[I]
	seen hashindex.Index
}

func (d typed[K, S, I]) newExchange(from, to int) Exchange {
	x := &exchange[K, I]{key: d.stage.Key, combine: d.stage.Combine, to: to, lanes: make([][]lane[I], from)}
	for i := range x.lanes {
		x.lanes[i] = make([]lane[I], to)
	}
	return x
}

// Sender is the function that fits the stage: one that combines records, one
// for a single shard, or one that picks the lane by key.
func (x *exchange[K, I]) Sender(from int) any {
	lanes := x.lanes[from]
	if x.combine != nil {
		return func(m Meta, v *I) { x.merge(lanes, m, v) }
	}
	if len(lanes) == 1 {
		only := &lanes[0]
		return func(m Meta, v *I) { only.rows = append(only.rows, row[I]{m, *v}) }
	}
	return func(m Meta, v *I) {
		l := &lanes[ShardOf(KeyGroup(x.key(v)), x.to)]
		l.rows = append(l.rows, row[I]{m, *v})
	}
}

// merge adds a record to one that it can be merged with, or appends it.
func (x *exchange[K, I]) merge(lanes []lane[I], m Meta, v *I) {
	k := x.key(v)
	group, hash := keyHash(k)
	l := &lanes[ShardOf(group, x.to)]
	seen := l.seen.Find(mix(hash ^ x.combine.Hash(v)))
	if seen.At != hashindex.None {
		r := &l.rows[seen.At]
		if x.key(&r.record) == k && x.combine.Merge(&r.record, v) {
			r.Time = max(r.Time, m.Time)
			r.Watermark = min(r.Watermark, m.Watermark)
			return
		}
	}
	seen.At = int32(len(l.rows))
	l.rows = append(l.rows, row[I]{m, *v})
}

// Deliver keeps the buffers for the next block unless they have grown beyond
// keptRows.
func (x *exchange[K, I]) Deliver(to int, into Table) {
	fold := into.Sink().(func(Meta, *I))
	for from := range x.lanes {
		l := &x.lanes[from][to]
		for i := range l.rows {
			fold(l.rows[i].Meta, &l.rows[i].record)
		}
		clear(l.rows) // so that no record is kept alive
		l.rows = l.rows[:0]
		l.seen.Clear()
		if cap(l.rows) > keptRows {
			l.rows, l.seen = nil, hashindex.Index{}
		}
	}
}

// Pending counts the rows of all senders.
func (x *exchange[K, I]) Pending(to int) int {
	n := 0
	for from := range x.lanes {
		n += len(x.lanes[from][to].rows)
	}
	return n
}
