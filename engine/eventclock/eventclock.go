// Package eventclock is how far event time has come in what an engine reads
// from its log: in one stream, or in each of the partitions that the log says
// records came from.
package eventclock

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

// Options say how event time is followed.
type Options struct {
	// Source makes the strategy of what is of no partition, and of everything
	// without Partitions.
	Source func() watermark.Strategy
	// Partitions has each partition followed for itself; nil takes all of the
	// log for one stream.
	Partitions *Partitions
}

// Partitions say how event time is followed in partitions.
type Partitions struct {
	// Idle is how long, in the time of blocks, a partition without records holds
	// event time back; 0 means for ever.
	Idle event.Duration
	// Strategy makes the strategy of a partition by its name.
	Strategy func(name string) watermark.Strategy
	// Apart has a record be late by its own partition's watermark rather than by
	// that of all: it then depends on the order within the partition only, which
	// is right where all records of a key are in one.
	Apart bool
}

// Clock is how far event time has come. It is deterministic: a fold of what the
// log holds.
type Clock struct {
	options    Options
	source     watermark.Strategy
	partitions *watermark.Named // nil: everything is source's
	current    int              // partition of the records that are stamped
	// past is how far time had come by partitions that are not followed any
	// more.
	past moment
}

type moment struct{ watermark, streamTime event.Time }

// New is the clock of a log before its first configuration.
func New() *Clock {
	return &Clock{source: watermark.NewMonotonous(), past: moment{event.MinTime, event.MinTime}}
}

// With is a clock that goes on from this one by other options. Time does not go
// back by that.
func (c *Clock) With(o Options) (*Clock, error) {
	next := &Clock{options: o, source: o.Source(), past: c.past}
	switch {
	case o.Partitions == nil && c.partitions == nil:
		return next, next.take(c.source)
	case o.Partitions == nil:
		next.past = moment{c.Watermark(), c.StreamTime()}
		if i, known := c.partitions.Find(""); known {
			return next, next.take(c.partitions.Strategy(i))
		}
		return next, next.take(c.source)
	}
	next.partitions = next.named()
	if c.partitions != nil {
		return next, errors.Join(next.take(c.source), next.partitions.Load(wire.NewReader(c.partitions.AppendTo(nil))))
	}
	next.partitions.Raise(c.Watermark())
	if err := next.take(c.source); err != nil || c.source.StreamTime() == event.MinTime {
		return next, err
	}
	own := next.partitions.Strategy(next.partitions.Number(""))
	return next, own.Load(wire.NewReader(c.source.AppendTo(nil)))
}

// take has the strategy of what is of no partition go on where another stands.
func (c *Clock) take(source watermark.Strategy) error {
	return c.source.Load(wire.NewReader(source.AppendTo(nil)))
}

func (c *Clock) named() *watermark.Named {
	p := c.options.Partitions
	return watermark.NewNamed(p.Idle, func(name string) watermark.Strategy {
		if name == "" {
			return c.options.Source()
		}
		return p.Strategy(name)
	})
}

// StartBlock tells the time of the block that begins, which decides which
// partitions are idle.
func (c *Clock) StartBlock(now event.Time) {
	if c.partitions != nil {
		c.partitions.StartBlock(now)
	}
}

// Lapses reports whether event time may come further by a block at that time,
// even one without records: a partition that holds it back would be idle.
func (c *Clock) Lapses(now event.Time) bool { return c.partitions != nil && c.partitions.Lapses(now) }

// Expect says that records of a partition are to come. It holds event time back
// until it has some or is idle, also where it was idle before.
func (c *Clock) Expect(partition string) {
	if c.partitions != nil {
		c.partitions.Expect(c.partitions.Number(partition))
	}
}

// Enter says which partition the next records are from.
func (c *Clock) Enter(partition string) {
	if c.partitions != nil {
		c.current = c.partitions.Number(partition)
	}
}

// Stamp gives the next record its Meta, and takes it into account: its time, the
// time of its block, and whether it is a punctuation mark.
func (c *Clock) Stamp(t, processing event.Time, punctuation bool) operator.Meta {
	m := operator.Meta{Time: t, Watermark: c.Watermark()}
	if c.partitions == nil {
		c.source.Observe(t, processing, punctuation)
		return m
	}
	if c.options.Partitions.Apart {
		// A partition that was idle may be behind what has closed meanwhile.
		m.Watermark = max(m.Watermark, c.partitions.Strategy(c.current).Watermark())
	}
	c.partitions.Observe(c.current, t, processing, punctuation)
	return m
}

// Watermark says that no record at or before it is expected any more.
func (c *Clock) Watermark() event.Time {
	if c.partitions != nil {
		return max(c.past.watermark, c.partitions.Watermark())
	}
	return max(c.past.watermark, c.source.Watermark())
}

// StreamTime is the largest event time.
func (c *Clock) StreamTime() event.Time {
	if c.partitions != nil {
		return max(c.past.streamTime, c.source.StreamTime(), c.partitions.StreamTime())
	}
	return max(c.past.streamTime, c.source.StreamTime())
}

// Plain reports whether the state of Source is all there is to be kept.
func (c *Clock) Plain() bool {
	return c.partitions == nil && c.past == moment{event.MinTime, event.MinTime}
}

// AppendSource appends the state of what is of no partition.
func (c *Clock) AppendSource(dst []byte) []byte { return c.source.AppendTo(dst) }

// LoadSource reads what AppendSource wrote.
func (c *Clock) LoadSource(r *wire.Reader) error { return c.source.Load(r) }

// Pass has event time come to where a checkpoint says that it was which has no
// state of a strategy.
func (c *Clock) Pass(streamTime event.Time) { c.source.Observe(streamTime, streamTime, false) }

// AppendTo appends what Plain says that there is besides the state of Source:
//
//	watermark varint and stream time varint of partitions in the past, whether
//	there are partitions, the partitions
func (c *Clock) AppendTo(dst []byte) []byte {
	dst = wire.AppendVarint(dst, int64(c.past.watermark))
	dst = wire.AppendVarint(dst, int64(c.past.streamTime))
	dst = wire.AppendBool(dst, c.partitions != nil)
	if c.partitions != nil {
		dst = c.partitions.AppendTo(dst)
	}
	return dst
}

// Load reads what AppendTo wrote by a clock with the same options.
func (c *Clock) Load(r *wire.Reader) error {
	c.past = moment{event.Time(r.Varint()), event.Time(r.Varint())}
	partitioned := r.Bool()
	if err := r.Err(); err != nil {
		return err
	}
	if partitioned != (c.partitions != nil) {
		return fmt.Errorf("%w: partitions were followed: %t, and are now: %t", wire.ErrCorrupt, partitioned, c.partitions != nil)
	}
	if !partitioned {
		return nil
	}
	c.partitions = c.named()
	return c.partitions.Load(r)
}
