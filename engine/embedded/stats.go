package embedded

import (
	"maps"
	"slices"
	"sync"
	"time"

	"millrace/catalog"
	"millrace/engine/checkpoint"
	"millrace/event"
	"millrace/eventlog"
)

// Stats is what the engine knows of itself at one moment.
type Stats struct {
	Block      uint64     // the last one that is visible
	Events     uint64     // that count, since the log began: without repeats
	Duplicates uint64     // ignored as repeats, since the log began
	Late       uint64     // applied after the watermark had passed them, since the start
	StreamTime event.Time // the largest event time applied, event.MinTime before the first
	Watermark  event.Time
	Shards     int
	Queued     int            // blocks that wait
	Keys       map[string]int // by stage
	// Failures are how often an operator has failed, by stage, and Skipped how
	// many events were given up for it: as Failures.Record has them.
	Failures map[string]uint64
	Skipped  uint64
	// LastLatency is the time from the last block's append to its visibility.
	LastLatency time.Duration
}

// Observer is told of every block that became visible, on the engine's
// goroutine: it must be quick.
type Observer func(BlockStats)

// BlockStats is what one block took.
type BlockStats struct {
	Events  int           // without repeats
	Apply   time.Duration // from the start of its processing to visibility
	Latency time.Duration // from its append to visibility
}

// stats collects what Stats shows.
type stats struct {
	mutex     sync.Mutex
	observer  Observer
	now       Stats
	positions map[string]uint64 // a copy of the core's
	keys      time.Time         // when now.Keys was counted
}

// keysEvery is how often keys are counted.
const keysEvery = time.Second

func (s *stats) block(a *appliedBlock, now time.Time, c *core) {
	b := &a.block
	latency := now.Sub(b.Time.Go())
	s.mutex.Lock()
	s.now.Block, s.now.Events, s.now.Duplicates, s.now.Late = b.Number, c.events-c.repeats, c.repeats, c.late
	s.now.StreamTime, s.now.Watermark = c.clock.StreamTime(), c.clock.Watermark()
	s.now.LastLatency = latency
	if now.Sub(s.keys) >= keysEvery {
		s.now.Keys, s.keys = c.pipeline.Keys(), now
	}
	for _, p := range b.Positions {
		s.positions[p.Source] = p.Next
	}
	observer := s.observer
	s.mutex.Unlock()
	if observer != nil && b.Kind == eventlog.Events {
		observer(BlockStats{Events: b.Count - len(a.duplicates), Apply: now.Sub(a.began), Latency: latency})
	}
}

// recovered sets what is known once recovery is done.
func (s *stats) recovered(c *core) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.now = Stats{
		Block: c.block, Events: c.events - c.repeats, Duplicates: c.repeats, Keys: c.pipeline.Keys(),
		StreamTime: c.clock.StreamTime(), Watermark: c.clock.Watermark(),
	}
	s.positions = maps.Clone(c.positions)
}

// Position is how far the import of a source has got: the first record that
// is not in the log yet. It is false where nothing was imported from it.
func (e *Engine) Position(source string) (next uint64, known bool) {
	e.stats.mutex.Lock()
	defer e.stats.mutex.Unlock()
	next, known = e.stats.positions[source]
	return next, known
}

// Sources are the names of the sources that Position knows, in no order.
func (e *Engine) Sources() []string {
	e.stats.mutex.Lock()
	defer e.stats.mutex.Unlock()
	return slices.Collect(maps.Keys(e.stats.positions))
}

// Stats reports the present figures.
func (e *Engine) Stats() Stats {
	e.stats.mutex.Lock()
	defer e.stats.mutex.Unlock()
	s := e.stats.now
	s.Shards, s.Queued = e.options.Shards, len(e.blocks)
	failures, skipped := e.options.Failures.Record.counts()
	s.Failures, s.Skipped = map[string]uint64{}, skipped
	for stage := range s.Keys {
		s.Failures[stage] = 0
	}
	maps.Copy(s.Failures, failures)
	return s
}

// Observe sets the function that is told of every block.
func (e *Engine) Observe(o Observer) {
	e.stats.mutex.Lock()
	defer e.stats.mutex.Unlock()
	e.stats.observer = o
}

// Index is the catalogue in memory.
func (e *Engine) Index() *catalog.Index { return e.index }

// CheckpointStatus is what is known of the checkpoints at present.
func (e *Engine) CheckpointStatus() checkpoint.Status { return e.saver.Status() }

// LiveBytes is about what the state takes in memory.
func (s subject) LiveBytes() int64 {
	bytes, _ := s.core.pipeline.Bytes()
	return bytes
}
