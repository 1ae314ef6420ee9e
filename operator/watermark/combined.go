package watermark

import (
	"fmt"

	"millrace/event"
	"millrace/event/wire"
)

// Combined is the watermark of a source with several partitions: the minimum
// of those that are not idle. A partition is idle when the processing time,
// told at the start of each block, is an idle timeout or more past that of its
// last record, or of the first block if it has had none. An idle partition does
// not hold the watermark back, nor does one that has ended; when such a
// partition has a record again, it counts again, but the watermark does not go
// back. While no partition counts the watermark holds, unless all have ended:
// then it is event.MaxTime.
//
// With an idle timeout watermarks depend on processing time, which is recorded
// with each block; without, on the order of records in their partitions and
// between them only.
type Combined struct {
	idleTimeout event.Duration
	partitions  []partition
	// bounds are how far each partition lets the watermark go, none if it does
	// not count. They are apart so that the minimum is found fast.
	bounds    []event.Time
	watermark event.Time
	now       event.Time // the latest processing time of a block
}

// none is the bound of a partition that does not count.
const none = event.MaxTime + 1

// partition is a source partition.
type partition struct {
	strategy Strategy
	active   event.Time // processing time of its last record; event.MinTime: none yet
	idle     bool
	ended    bool
}

// NewCombined makes the watermark of n partitions, each with a strategy of its
// own. An idle timeout of zero or less means that no partition is ever idle.
func NewCombined(n int, idleTimeout event.Duration, strategy func() Strategy) *Combined {
	c := &Combined{
		idleTimeout: idleTimeout,
		partitions:  make([]partition, n),
		bounds:      make([]event.Time, n),
		watermark:   event.MinTime,
		now:         event.MinTime,
	}
	for i := range c.partitions {
		c.partitions[i] = partition{strategy: strategy(), active: event.MinTime}
		c.bounds[i] = event.MinTime
	}
	return c
}

// Add adds a partition and returns its number. Until its first record, or until
// it is idle, it holds the watermark.
func (c *Combined) Add(strategy Strategy) int {
	active := event.MinTime
	if c.now > event.MinTime {
		active = c.now
	}
	c.partitions = append(c.partitions, partition{strategy: strategy, active: active})
	c.bounds = append(c.bounds, event.MinTime)
	return len(c.partitions) - 1
}

// Expect says that records of a partition are to come: it counts again if it was
// idle, and its time begins with the current block.
func (c *Combined) Expect(partition int) {
	p := &c.partitions[partition]
	p.active = max(p.active, c.now)
	if p.idle {
		p.idle = false
		c.bounds[partition] = p.strategy.Watermark()
	}
}

// Raise has the watermark be at least this.
func (c *Combined) Raise(watermark event.Time) { c.watermark = max(c.watermark, watermark) }

// Lapses reports whether a block that begins at a processing time would make a
// partition idle.
func (c *Combined) Lapses(processing event.Time) bool {
	if c.idleTimeout <= 0 {
		return false
	}
	for i := range c.partitions {
		p := &c.partitions[i]
		if !p.idle && !p.ended && p.active != event.MinTime && processing-p.active >= c.idleTimeout {
			return true
		}
	}
	return false
}

// StartBlock tells the recorded processing time of the block that begins. It
// decides which partitions are idle, so the watermark may move. A time before
// that of an earlier block counts as that.
func (c *Combined) StartBlock(processing event.Time) {
	c.now = max(c.now, clamp(processing, event.MinTime, event.MaxTime))
	if c.idleTimeout <= 0 {
		return
	}
	changed := false
	for i := range c.partitions {
		p := &c.partitions[i]
		if p.active == event.MinTime {
			p.active = c.now // its time begins with the first block
		}
		if !p.idle && !p.ended && c.now-p.active >= c.idleTimeout {
			p.idle = true
			c.bounds[i] = none
			changed = true
		}
	}
	if changed {
		c.advance()
	}
}

// Observe takes one record of a partition into account; see Strategy. A record
// keeps its partition from being idle from the time of its block on, also where
// the clock was set back.
func (c *Combined) Observe(partition int, t, processing event.Time, punctuation bool) {
	p := &c.partitions[partition]
	bound := p.strategy.Observe(t, processing, punctuation)
	p.active = max(p.active, c.now, min(processing, event.MaxTime))
	p.idle, p.ended = false, false
	before := c.bounds[partition]
	if bound == before {
		return
	}
	c.bounds[partition] = bound
	// Where this one did not hold the watermark back, another one does as
	// before, unless none counted.
	if before <= c.watermark || before == none {
		c.advance()
	}
}

// Strategy is that of one partition. Whoever reads partitions at the same time
// has each observed by its own strategy, and calls Settle when all are done.
func (c *Combined) Strategy(partition int) Strategy { return c.partitions[partition].strategy }

// Settle takes into account what the strategy of a partition has observed since
// the last call, if it has observed anything.
func (c *Combined) Settle(partition int) {
	p := &c.partitions[partition]
	p.active = max(p.active, c.now)
	p.idle, p.ended = false, false
	c.bounds[partition] = p.strategy.Watermark()
	c.advance()
}

// End says that a partition has no further records.
func (c *Combined) End(partition int) {
	p := &c.partitions[partition]
	p.idle, p.ended = false, true
	c.bounds[partition] = none
	c.advance()
}

// advance moves the watermark to the least of the partitions that count.
func (c *Combined) advance() {
	least := none
	for _, bound := range c.bounds {
		least = min(least, bound)
	}
	if least == none {
		if !c.allEnded() {
			return
		}
		least = event.MaxTime
	}
	c.watermark = max(c.watermark, least)
}

func (c *Combined) allEnded() bool {
	for i := range c.partitions {
		if !c.partitions[i].ended {
			return false
		}
	}
	return len(c.partitions) > 0
}

// Watermark says that no record of any partition at or before it is expected
// any more.
func (c *Combined) Watermark() event.Time { return c.watermark }

// StreamTime is the largest event time of all partitions.
func (c *Combined) StreamTime() event.Time {
	latest := event.MinTime
	for i := range c.partitions {
		latest = max(latest, c.partitions[i].strategy.StreamTime())
	}
	return latest
}

// Partitions is how many there are.
func (c *Combined) Partitions() int { return len(c.partitions) }

// Partition is the watermark of one partition, and whether it is idle or has
// ended.
func (c *Combined) Partition(partition int) (watermark event.Time, idle, ended bool) {
	p := &c.partitions[partition]
	return p.strategy.Watermark(), p.idle, p.ended
}

// AppendTo appends the state of all partitions:
//
//	version, now varint, watermark varint, count uvarint, then for each
//	partition: active varint, idle bool, ended bool, the strategy
func (c *Combined) AppendTo(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = wire.AppendVarint(dst, int64(c.now))
	dst = wire.AppendVarint(dst, int64(c.watermark))
	dst = wire.AppendUvarint(dst, uint64(len(c.partitions)))
	for i := range c.partitions {
		p := &c.partitions[i]
		dst = wire.AppendVarint(dst, int64(p.active))
		dst = wire.AppendBool(dst, p.idle)
		dst = wire.AppendBool(dst, p.ended)
		dst = p.strategy.AppendTo(dst)
	}
	return dst
}

// Load reads what AppendTo wrote into a Combined that is new. It may have more
// partitions than were saved, as when some have been added to a topic, but not
// fewer. After an error it must not be used.
func (c *Combined) Load(r *wire.Reader) error {
	checkVersion(r)
	now, watermark := readTime(r), readTime(r)
	saved := r.Count()
	if err := r.Err(); err != nil {
		return err
	}
	if saved > len(c.partitions) {
		return fmt.Errorf("watermarks of %d partitions were saved, and there are %d", saved, len(c.partitions))
	}
	for i := range saved {
		p := &c.partitions[i]
		p.active, p.idle, p.ended = readTime(r), r.Bool(), r.Bool()
		if err := p.strategy.Load(r); err != nil {
			return err
		}
		p.idle = p.idle && c.idleTimeout > 0
		c.bounds[i] = p.strategy.Watermark()
		if p.idle || p.ended {
			c.bounds[i] = none
		}
	}
	c.now, c.watermark = now, watermark
	return nil
}
