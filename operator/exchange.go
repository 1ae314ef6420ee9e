package operator

import (
	"reflect"

	"millrace/internal/hashindex"
)

// Exchange carries records from shards of one stage to shards of another, by
// key. Sender i is used by shard i only; Deliver is called when all senders
// of the block are done.
type Exchange interface {
	// Sender is a func(Meta, *I) through which one sending shard emits.
	Sender(from int) any
	// Deliver folds what has been sent to a shard into its table, sender by
	// sender, at most so many records, and reports whether more wait. Buffers
	// are emptied when all of theirs is delivered.
	Deliver(to int, into Table, most int) (more bool)
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
	hash    func(K) uint64
	combine *Combiner[I]
	to      int
	lanes   [][]lane[I] // by sender, by receiver
}

// lane is what one sender has for one receiver. Lanes of two senders are not
// on one cache line.
type lane[I any] struct {
	rows      []row[I]
	delivered int
	pointers  bool // whether records hold any
	// seen finds a record that a new one may be merged with, by hash of key
	// and combiner; last is the one that was merged with last.
	seen hashindex.Index
	last int
	_    [64]byte
}

func (d typed[K, S, I]) newExchange(from, to int) Exchange {
	x := &exchange[K, I]{key: d.stage.Key, hash: hasher[K](), combine: d.stage.Combine, to: to, lanes: make([][]lane[I], from)}
	pointers := holdsPointers(reflect.TypeFor[I]())
	for i := range x.lanes {
		x.lanes[i] = make([]lane[I], to)
		for j := range x.lanes[i] {
			x.lanes[i][j].pointers = pointers
		}
	}
	return x
}

// holdsPointers reports whether values of a type keep anything else alive.
func holdsPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return t.Len() > 0 && holdsPointers(t.Elem())
	}
	return t.Kind() > reflect.Complex128 || t.Kind() == reflect.Uintptr
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
		group := int(x.hash(x.key(v)) % KeyGroups)
		l := &lanes[ShardOf(group, x.to)]
		l.rows = append(l.rows, row[I]{m, *v})
	}
}

// merge adds a record to one that it can be merged with, or appends it. What
// comes in a row for one key is merged without a look at the index.
func (x *exchange[K, I]) merge(lanes []lane[I], m Meta, v *I) {
	k := x.key(v)
	hash := x.hash(k)
	l := &lanes[ShardOf(int(hash%KeyGroups), x.to)]
	if l.last < len(l.rows) && x.into(&l.rows[l.last], k, m, v) {
		return
	}
	seen := l.seen.Find(mix(hash ^ x.combine.Hash(v)))
	if seen.At != hashindex.None && x.into(&l.rows[seen.At], k, m, v) {
		l.last = int(seen.At)
		return
	}
	l.last = len(l.rows)
	seen.At = int32(l.last)
	l.rows = append(l.rows, row[I]{m, *v})
}

// into merges a record into a row, if both are of one key and may be merged.
func (x *exchange[K, I]) into(r *row[I], k K, m Meta, v *I) bool {
	if x.key(&r.record) != k || !x.combine.Merge(&r.record, v) {
		return false
	}
	r.Time = max(r.Time, m.Time)
	r.Watermark = min(r.Watermark, m.Watermark)
	return true
}

// Deliver keeps the buffers for the next block unless they have grown beyond
// keptRows.
func (x *exchange[K, I]) Deliver(to int, into Table, most int) (more bool) {
	table := into.(folder[I])
	for from := range x.lanes {
		l := &x.lanes[from][to]
		n := min(most, len(l.rows)-l.delivered)
		table.foldRows(l.rows[l.delivered : l.delivered+n])
		l.delivered += n
		if l.delivered < len(l.rows) {
			return true
		}
		most -= n
		if len(l.rows) > 0 {
			l.empty()
		}
	}
	return false
}

// folder is a table that folds records of type I.
type folder[I any] interface{ foldRows(rows []row[I]) }

func (l *lane[I]) empty() {
	if l.pointers {
		clear(l.rows) // so that no record is kept alive
	}
	l.rows, l.delivered, l.last = l.rows[:0], 0, 0
	l.seen.Clear()
	if cap(l.rows) > keptRows {
		l.rows, l.seen = nil, hashindex.Index{}
	}
}

// Pending counts the rows of all senders.
func (x *exchange[K, I]) Pending(to int) int {
	n := 0
	for from := range x.lanes {
		l := &x.lanes[from][to]
		n += len(l.rows) - l.delivered
	}
	return n
}
