package watermark

import (
	"millrace/event"
	"millrace/event/wire"
)

const (
	// delays is of how many records the delays are averaged.
	delays = 100
	// maxDelay is what any delay is cut to, 278 years: longer than the time
	// of an event can be off, and a hundred of them cannot overflow.
	maxDelay event.Duration = 1 << 43
)

// Dynamic measures how late records come and sets its bound from that. The
// delay of a record is how far its time is behind the largest event time up to
// and with it, zero if it is the largest; or, by processing time, how far it is
// behind the recorded processing time of its block, zero if it is ahead. With
//
//	bound     = max(floor, 3 x sum of the last 100 delays / (2 x their number))
//	watermark = max(watermark, largest event time - bound - 1)
//
// after every record, the record's own delay included; the division is of
// integers and rounds down. While there have been fewer than 100 records, it is
// the average of those.
type Dynamic struct {
	progress
	floor        event.Duration
	byProcessing bool

	sum    event.Duration // of delays
	count  int            // of delays
	next   int            // place of the next delay, the oldest one's when all are taken
	delays [delays]event.Duration
}

// NewDynamic makes the strategy with event-time delays: it can be replayed
// from the records alone. A floor below zero is zero.
func NewDynamic(floor event.Duration) *Dynamic {
	return &Dynamic{progress: notBegun(), floor: clamp(floor, 0, event.MaxTime-1)}
}

// NewDynamicByProcessingTime makes the strategy with delays against the
// recorded time of blocks: results depend on when records came, and on the
// boundaries of blocks.
func NewDynamicByProcessingTime(floor event.Duration) *Dynamic {
	s := NewDynamic(floor)
	s.byProcessing = true
	return s
}

// Observe implements Strategy.
func (s *Dynamic) Observe(t, processing event.Time, _ bool) event.Time {
	s.streamTime = max(s.streamTime, min(t, event.MaxTime))
	now := s.streamTime
	if s.byProcessing {
		now = processing
	}
	s.add(delay(t, now))
	s.watermark = max(s.watermark, s.streamTime-s.Bound()-1)
	return s.watermark
}

// delay is how far t is behind now; the difference of any two times fits into
// 64 bits without a sign.
func delay(t, now event.Time) event.Duration {
	if t >= now {
		return 0
	}
	return event.Duration(min(uint64(now)-uint64(t), uint64(maxDelay)))
}

func (s *Dynamic) add(d event.Duration) {
	if s.count < delays {
		s.count++
	}
	s.sum += d - s.delays[s.next] // zero where there was none yet
	s.delays[s.next] = d
	if s.next++; s.next == delays {
		s.next = 0
	}
}

// Bound is how far the watermark would be behind a record that came now and
// was not late, were it not kept from going back.
func (s *Dynamic) Bound() event.Duration {
	if s.count == delays { // the usual case: to divide by a constant is cheaper
		return max(s.floor, event.Duration(uint64(s.sum)*3/(2*delays)))
	}
	return max(s.floor, s.sum*3/event.Duration(2*max(s.count, 1)))
}

// AppendTo implements Strategy.
func (s *Dynamic) AppendTo(dst []byte) []byte {
	own := wire.AppendBool(nil, s.byProcessing)
	own = wire.AppendUvarint(own, uint64(s.count))
	for i := range s.count { // the oldest first
		own = wire.AppendUvarint(own, uint64(s.delays[(s.next+delays-s.count+i)%delays]))
	}
	return s.appendTo(dst, kindDynamic, own)
}

// Load implements Strategy. Delays of the other kind are not taken over.
func (s *Dynamic) Load(r *wire.Reader) error {
	p, own := readProgress(r, kindDynamic)
	loaded := Dynamic{progress: p, floor: s.floor, byProcessing: s.byProcessing}
	if own.Len() > 0 {
		same := own.Bool() == s.byProcessing
		count := own.Count()
		if count > delays {
			r.Fail(wire.ErrCorrupt)
			return r.Err()
		}
		for range count {
			d := own.Uvarint()
			if d > uint64(maxDelay) {
				own.Fail(wire.ErrCorrupt)
			} else if same {
				loaded.add(event.Duration(d))
			}
		}
		if err := own.End(); err != nil {
			r.Fail(err)
		}
	}
	if r.Err() == nil {
		*s = loaded
	}
	return r.Err()
}
