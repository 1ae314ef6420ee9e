// Package join joins two streams of different types by key: records whose
// times are close ([Interval]), or that fall into the same window ([Window]).
//
// Both are event-time joins with the semantics of Flink's intervalJoin and
// window join. The two sides become one stream of tagged records, so that a
// join is an ordinary stage; records that each side sends reach it in order.
//
// Which pairs are found does not depend on how the two sides interleave, nor
// on shards and blocks: whether a record is late is decided by the watermark
// that it travels with, and a partner is kept for as long as a record that is
// not late could need it. What is remembered is kept in an order of its own -
// by time, and by bytes where times are equal - so that equal inputs come to
// equal state. Behind an exchange only the order in which pairs are emitted
// depends on the order in which records arrive.
package join

import (
	"bytes"
	"slices"
	"sort"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// The ports of an interval join.
const (
	portResults   = "results"
	portLateLeft  = "late left"
	portLateRight = "late right"
)

// Joined are the outputs of a join.
type Joined[L, R, O any] struct {
	// Handle is the stage.
	operator.Handle
	// Results are what Join and the other functions of the specification emit.
	Results operator.Stream[O]
	// LateLeft and LateRight are the records that came too late to be joined.
	LateLeft  operator.Stream[L]
	LateRight operator.Stream[R]
}

// side says which stream a record is of.
type side uint8

const (
	leftSide side = iota
	rightSide
)

// tagged is a record of either stream on its way to the join.
type tagged[L, R any] struct {
	side  side
	left  L
	right R
}

// union makes one stream of the two.
func union[L, R any](left operator.Stream[L], right operator.Stream[R]) operator.Stream[tagged[L, R]] {
	return operator.Union(
		operator.Map(left, func(in *L, out *tagged[L, R]) { out.side, out.left = leftSide, *in }),
		operator.Map(right, func(in *R, out *tagged[L, R]) { out.side, out.right = rightSide, *in }),
	)
}

// keyOf is the key of a tagged record.
func keyOf[K operator.Key, L, R any](left func(*L) K, right func(*R) K) func(*tagged[L, R]) K {
	return func(in *tagged[L, R]) K {
		if in.side == leftSide {
			return left(&in.left)
		}
		return right(&in.right)
	}
}

// held is a record that waits for partners.
type held[T any] struct {
	time    event.Time
	matched bool // it has had one
	value   T
}

// buffer is what is held of one side: in the order of time, and of their
// bytes where times are equal.
type buffer[T any] []held[T]

// from is the index of the first record at or after a time.
func (b buffer[T]) from(t event.Time) int {
	return sort.Search(len(b), func(i int) bool { return b[i].time >= t })
}

// add puts a record in its place and returns where that is.
func (b *buffer[T]) add(h held[T], o *orderer[T]) int {
	list := *b
	n := len(list)
	if n == 0 || list[n-1].time < h.time {
		*b = append(list, h)
		return n
	}
	first, last := list.from(h.time), list.from(h.time+1)
	i := first
	if last > first {
		o.mine = o.codec.Append(o.mine[:0], &h.value)
		i += sort.Search(last-first, func(i int) bool { return o.after(&list[first+i].value) })
	}
	*b = slices.Insert(list, i, h)
	return i
}

// drop lets go of the first n records. The memory goes when the buffer grows
// anew, so that a buffer that is used as a queue is not copied each time.
func (b *buffer[T]) drop(n int) {
	clear((*b)[:n])
	if *b = (*b)[n:]; len(*b) == 0 {
		*b = nil
	}
}

// orderer compares records by their bytes.
type orderer[T any] struct {
	codec       codec.Codec[T]
	mine, other []byte
}

// after reports whether a value comes after the one whose bytes are in mine.
func (o *orderer[T]) after(v *T) bool {
	o.other = o.codec.Append(o.other[:0], v)
	return bytes.Compare(o.other, o.mine) > 0
}

// append and load are the stored form of a buffer: times as differences.
func (b buffer[T]) append(dst []byte, c *codec.Codec[T]) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(b)))
	last := event.Time(0)
	for i := range b {
		dst = wire.AppendVarint(dst, int64(b[i].time-last))
		dst = wire.AppendBool(dst, b[i].matched)
		dst = c.Append(dst, &b[i].value)
		last = b[i].time
	}
	return dst
}

func (b *buffer[T]) load(r *wire.Reader, c *codec.Codec[T]) {
	last := event.Time(0)
	for range r.Count() {
		last += event.Time(r.Varint())
		h := held[T]{time: last, matched: r.Bool()}
		c.Load(r, &h.value)
		if r.Err() != nil {
			return
		}
		*b = append(*b, h)
	}
}
