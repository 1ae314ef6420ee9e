// Package reference is six stream jobs that are defined bit for bit, with
// their generator and what they must come to, so that this engine and Apache
// Flink can be run side by side: they print the same checksum or one is wrong.
// The jobs are ordinary stages and windows of the operator contract.
package reference

import (
	"io"
	"math"
	"sync"

	"millrace/engine/job"
	"millrace/event"
	"millrace/internal/splitmix"
)

// Event is one generated event. Its time travels beside it.
type Event struct {
	User  uint64
	Item  uint32
	Value uint16
	Type  Type
}

// Type is what an event is of.
type Type uint8

// The types of events.
const (
	View Type = iota
	Click
	Like
	Purchase
)

const (
	// DefaultUsers is how many users there are.
	DefaultUsers = 100_000
	items        = 50_000
	categories   = 50
	begin        = event.Time(1_700_000_100_000)
	slot         = 600_000 // events between two changes of the active users
	maxDelay     = 5000 * event.Millisecond
	seed         = 42
	partitions   = 2
)

// draw is the n-th output, from 0, of splitmix64 with the seed.
func draw(n uint64) uint64 { return splitmix.Mix(seed + (n+1)*splitmix.Gamma) }

// popularity is the Zipf distribution of items with exponent 1.1, as cumulated
// probabilities of 53 bits, and where to begin to look in it.
type popularity struct {
	cumulated [items]uint64
	guide     [1 << guideBits]uint32
}

const guideBits = 16

// zipf makes the table with IEEE doubles in the order that the definition
// gives: every product and sum is rounded by itself.
var zipf = sync.OnceValue(func() *popularity {
	sums := make([]float64, items)
	s := 0.0
	for k := 1; k <= items; k++ {
		x := 3.0
		for range 60 {
			x2 := x * x
			x4 := x2 * x2
			x8 := x4 * x4
			x9 := float64(x8 * x)
			x10 := float64(x9 * x)
			x -= float64((x10 - float64(k)) / float64(10.0*x9))
		}
		s += float64(1.0 / float64(float64(k)*x))
		sums[k-1] = s
	}
	p := &popularity{}
	for k, c := range sums {
		p.cumulated[k] = uint64(math.Floor(float64(c/s) * 9007199254740992.0))
	}
	at := uint32(0)
	for i := range p.guide {
		for p.cumulated[at] <= uint64(i)<<(53-guideBits) {
			at++
		}
		p.guide[i] = at
	}
	return p
})

// item is the first item whose cumulated probability is above a draw.
func (p *popularity) item(b uint64) uint32 {
	r := b >> 11
	k := p.guide[r>>(53-guideBits)]
	for p.cumulated[k] <= r {
		k++
	}
	return k
}

// Generator is a job.Source of generated events in two partitions, of the
// users with even and with odd numbers. Event i is a function of i only.
type Generator struct {
	// Events is how many there are, an even number.
	Events uint64
	// Users is how many users there are, of whom a fifth is active at a time;
	// 0 means DefaultUsers. A multiple of 10.
	Users uint64
	// Hot, if not 0, is the share of events, of 65,536, that are about item 0,
	// to see what skew costs. The definition of the jobs has none.
	Hot uint64
}

// Partitions is two.
func (g Generator) Partitions() int { return partitions }

// Open reads the events of a partition from a position on.
func (g Generator) Open(partition int, from uint64) (job.Reader[Event], error) {
	if g.Users == 0 {
		g.Users = DefaultUsers
	}
	return &generated{g: g, zipf: zipf(), next: uint64(partition) + from*partitions}, nil
}

// generated reads one partition.
type generated struct {
	g     Generator
	zipf  *popularity
	next  uint64
	event Event // the one that is emitted
}

// Read emits the next events.
func (r *generated) Read(most int, emit func(event.Time, *Event)) (int, error) {
	n := 0
	for ; n < most && r.next < r.g.Events; n++ {
		emit(r.generate(r.next), &r.event)
		r.next += partitions
	}
	if n < most {
		return n, io.EOF
	}
	return n, nil
}

// Close has nothing to do.
func (r *generated) Close() error { return nil }

// generate makes event i and returns its time.
func (r *generated) generate(i uint64) event.Time {
	a, b, c, d := draw(4*i), draw(4*i+1), draw(4*i+2), draw(4*i+3)
	n, bit := a>>33, i&1
	if a&0xFFFF%100 < 2 {
		n = n%(r.g.Users/2)*2 + bit
	} else {
		n = (n%(r.g.Users/10)*5+i/slot%5)*2 + bit
	}
	e := &r.event
	e.User, e.Item, e.Value = n, r.zipf.item(b), uint16(d&0xFFFF%1000)
	if r.g.Hot > 0 && c&0xFFFF < r.g.Hot {
		e.Item = 0
	}
	switch t := (c >> 33) % 100; {
	case t < 70:
		e.Type = View
	case t < 90:
		e.Type = Click
	case t < 97:
		e.Type = Like
	default:
		e.Type = Purchase
	}
	return begin + event.Time(i) - event.Time((d>>33)%uint64(maxDelay))
}
