package reference

import (
	"math"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/window"
)

// pairCount is a row of J2.
type pairCount struct {
	start event.Time
	pair  pair
	count uint64
}

// countPairs is J2: how many users have viewed each two items within five
// minutes.
func countPairs(source operator.Stream[Event]) {
	viewed := window.Add(
		operator.Filter(source, func(e *Event) bool { return e.Type == View }),
		window.Spec[uint64, Event, []uint32, pair]{
			Name: "viewed", Subject: operator.SubjectUser, Key: user, Windows: window.Tumbling(5 * event.Minute),
			Add:         func(set *[]uint32, e *Event) { *set = insertSorted(*set, e.Item) },
			Reset:       func(set *[]uint32) { *set = (*set)[:0] },
			Accumulator: codec.List(codec.Uint64[uint32]()),
			Result: func(_ window.Window[uint64], set *[]uint32, emit func(pair)) {
				for i, a := range *set {
					for _, b := range (*set)[i+1:] {
						emit(pairOf(a, b))
					}
				}
			},
		})
	pairs := window.Add(window.Results[pair](viewed), window.Spec[uint64, pair, uint64, pairCount]{
		Name: "pairs", Key: func(p *pair) uint64 { return uint64(*p) }, Windows: window.Tumbling(5 * event.Minute),
		Add:         func(n *uint64, _ *pair) { *n++ },
		Accumulator: codec.Uint64[uint64](),
		Result: func(w window.Window[uint64], n *uint64, emit func(pairCount)) {
			emit(pairCount{w.Start, pair(w.Key), *n})
		},
	})
	sink(window.Results[pairCount](pairs), func(r *pairCount) uint64 {
		return Hash(Hash(Hash(Hash(2, uint64(r.start)), uint64(r.pair>>32)), uint64(r.pair&math.MaxUint32)), r.count)
	})
}

// exposure is how often an item was shown and clicked.
type exposure struct{ views, clicks uint64 }

// clickRate is a row of J3.
type clickRate struct {
	start event.Time
	item  uint64
	exposure
}

// clickRates is J3: views, clicks and their ratio of each item, over ten
// minutes, every minute.
func clickRates(source operator.Stream[Event]) {
	rates := window.Add(
		operator.Filter(source, func(e *Event) bool { return e.Type <= Click }),
		window.Spec[uint64, Event, exposure, clickRate]{
			Name: "exposure", Subject: operator.SubjectItem, Key: func(e *Event) uint64 { return uint64(e.Item) },
			Windows: window.Sliding(10*event.Minute, event.Minute), Combine: true,
			Add: func(x *exposure, e *Event) {
				if e.Type == View {
					x.views++
				} else {
					x.clicks++
				}
			},
			Merge: func(into, from *exposure) {
				into.views += from.views
				into.clicks += from.clicks
			},
			Accumulator: codec.Codec[exposure]{
				Append: func(dst []byte, x *exposure) []byte {
					return wire.AppendUvarint(wire.AppendUvarint(dst, x.views), x.clicks)
				},
				Load: func(r *wire.Reader, x *exposure) { x.views, x.clicks = r.Uvarint(), r.Uvarint() },
			},
			Result: func(w window.Window[uint64], x *exposure, emit func(clickRate)) {
				emit(clickRate{w.Start, w.Key, *x})
			},
		})
	sink(window.Results[clickRate](rates), func(r *clickRate) uint64 {
		rate := 0.0
		if r.views > 0 {
			rate = float64(r.clicks) / float64(r.views)
		}
		x := Hash(Hash(Hash(Hash(3, uint64(r.start)), r.item), r.views), r.clicks)
		return Hash(x, math.Float64bits(rate))
	})
}

// statistics are those of a window of J5.
type statistics struct {
	count, sum uint64
	min, max   uint16
}

func (s *statistics) add(v uint16) {
	if s.count == 0 {
		s.min, s.max = v, v
	}
	s.count++
	s.sum += uint64(v)
	s.min, s.max = min(s.min, v), max(s.max, v)
}

func (s *statistics) merge(from *statistics) {
	if s.count == 0 {
		*s = *from
		return
	}
	s.count += from.count
	s.sum += from.sum
	s.min, s.max = min(s.min, from.min), max(s.max, from.max)
}

var statisticsCodec = codec.Codec[statistics]{
	Append: func(dst []byte, s *statistics) []byte {
		dst = wire.AppendUvarint(wire.AppendUvarint(dst, s.count), s.sum)
		return wire.AppendUvarint(wire.AppendUvarint(dst, uint64(s.min)), uint64(s.max))
	},
	Load: func(r *wire.Reader, s *statistics) {
		s.count, s.sum = r.Uvarint(), r.Uvarint()
		s.min, s.max = uint16(r.Uvarint()), uint16(r.Uvarint())
	},
}

// userStatistic is a row of J5.
type userStatistic struct {
	kind  uint64
	user  uint64
	start event.Time
	statistics
}

// userStatistics is J5: count, sum, least and largest value of each user's
// events in three kinds of windows.
func userStatistics(source operator.Stream[Event]) {
	statistic := window.Add(source, window.Spec[uint64, Event, statistics, userStatistic]{
		Name: "statistics", Subject: operator.SubjectUser, Key: user,
		Windows:     window.Tumbling(event.Minute),
		More:        []window.Assigner{window.Tumbling(5 * event.Minute), window.Sliding(event.Minute, 30*event.Second)},
		Add:         func(s *statistics, e *Event) { s.add(e.Value) },
		Merge:       (*statistics).merge,
		Accumulator: statisticsCodec,
		Result: func(w window.Window[uint64], s *statistics, emit func(userStatistic)) {
			emit(userStatistic{uint64(w.Index), w.Key, w.Start, *s})
		},
	})
	sink(window.Results[userStatistic](statistic), func(r *userStatistic) uint64 {
		x := Hash(Hash(Hash(Hash(5, r.kind), r.user), uint64(r.start)), r.count)
		return Hash(Hash(Hash(x, r.sum), uint64(r.min)), uint64(r.max))
	})
}

// userSession is a row of J6.
type userSession struct {
	user       uint64
	start, end event.Time
	statistics
}

// userSessions is J6: each user's sessions, which half an hour without events
// ends.
func userSessions(source operator.Stream[Event]) {
	sessions := window.Add(source, window.Spec[uint64, Event, statistics, userSession]{
		Name: "session", Subject: operator.SubjectUser, Key: user, Windows: window.Session(30 * event.Minute),
		Add:         func(s *statistics, e *Event) { s.add(e.Value) },
		Merge:       (*statistics).merge,
		Accumulator: statisticsCodec,
		Result: func(w window.Window[uint64], s *statistics, emit func(userSession)) {
			emit(userSession{w.Key, w.Start, w.End, *s})
		},
	})
	sink(window.Results[userSession](sessions), func(r *userSession) uint64 {
		x := Hash(Hash(Hash(6, r.user), uint64(r.start)), uint64(r.end))
		return Hash(Hash(x, r.count), r.sum)
	})
}
