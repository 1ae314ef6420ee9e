package heat

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/publish"
	"millrace/recommend/decay"
)

// The names of the stage that publishes the heat index, of its port and topic.
const (
	StageIndex  = "heatindex"
	PortRecords = "records"
	Topic       = "heat"
)

// IndexOptions are the options of the stage that publishes.
type IndexOptions struct {
	// Interval is the grid of event time at which changes are published, in
	// milliseconds.
	Interval event.Duration `json:"interval_ms"`
}

// Validate returns an ErrOptions if the options can not be.
func (o IndexOptions) Validate() error {
	if o.Interval < 1 || o.Interval > event.Day {
		return fmt.Errorf("%w: interval_ms %d: want 1 to %d", ErrOptions, o.Interval, event.Day)
	}
	return nil
}

// beat is what events before a moment of the grid add to an item's heat.
type beat struct {
	Item    string
	Due     event.Time // the moment
	Amounts [halfLives]decay.Amount
	Events  int64
}

func (b *beat) hash() uint64 { return uint64(b.Due) }

// merge adds a beat of the same moment and epochs. One record is then as good as
// two.
func (b *beat) merge(in *beat) bool {
	if b.Due != in.Due {
		return false
	}
	for k := range b.Amounts {
		if b.Amounts[k].Epoch != in.Amounts[k].Epoch {
			return false
		}
	}
	for k := range b.Amounts {
		b.Amounts[k].Merge(in.Amounts[k])
	}
	b.Events += in.Events
	return true
}

// AddIndex adds the stage that publishes the heat index of items.
func AddIndex(h Handles, o IndexOptions) operator.Handle {
	in := operator.From[impulse](h.Impulses, portImpulses)
	if err := o.Validate(); err != nil {
		in.Refuse(err)
		o.Interval = event.Day
	}
	beats := operator.Process(in, func(m operator.Meta, i *impulse, emit func(*beat)) {
		emit(&beat{Item: i.Item, Due: event.WindowStart(m.Effective(), o.Interval) + o.Interval, Amounts: i.Amounts, Events: i.Events})
	})
	return operator.Add(beats, operator.Stage[string, indexState, beat]{
		Name: StageIndex, Subject: operator.SubjectItem, Version: stateVersion,
		Key:     func(b *beat) string { return b.Item },
		Combine: &operator.Combiner[beat]{Hash: (*beat).hash, Merge: (*beat).merge},
		Codec:   beatCodec(),
		New: func(p *operator.Ports) operator.Operator[string, indexState, beat] {
			return &index{out: operator.Out[publish.Record](p, PortRecords)}
		},
	})
}

// indexState is an item's heat as it was published, and what counts later.
type indexState struct {
	sums   [halfLives]decay.Sum
	events int64
	open   []beat // in the order in which they came
}

type index struct {
	out *operator.Output[publish.Record]
}

// Fold holds an item's beat until its moment.
func (o *index) Fold(c *operator.Context, _ string, s *indexState, in *beat) {
	c.SetTimer(in.Due)
	for i := range s.open {
		if s.open[i].merge(in) {
			return
		}
	}
	s.open = append(s.open, *in)
	s.open[len(s.open)-1].Item = "" // it is the key
}

// Timer publishes the item's heat as of then.
func (o *index) Timer(c *operator.Context, item string, s *indexState, at event.Time) {
	s.open = slices.DeleteFunc(s.open, func(b beat) bool {
		if b.Due > at {
			return false
		}
		for k := range b.Amounts {
			s.sums[k].Add(b.Amounts[k])
		}
		s.events += b.Events
		return true
	})
	if o.out.Connected() {
		o.out.Emit(at, publish.Record{Topic: Topic, Key: item, Value: s.record(item, at)})
	}
}

// published is the form of a record.
type published struct {
	Item   string     `json:"item_id"`
	Time   event.Time `json:"time"`
	Hour   float64    `json:"heat_1h"`
	Day    float64    `json:"heat_1d"`
	Week   float64    `json:"heat_7d"`
	Month  float64    `json:"heat_30d"`
	Events int64      `json:"events"`
}

// record is what is published of an item as of a moment: figures with six places.
func (s *indexState) record(item string, at event.Time) []byte {
	var heat [halfLives]float64
	for k := range heat {
		heat[k] = math.Round(s.sums[k].Value().At(kept[k], at)*1e6) / 1e6
	}
	b, err := json.Marshal(published{Item: item, Time: at, Hour: heat[0], Day: heat[1], Week: heat[2], Month: heat[3], Events: s.events})
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return b
}

// Append writes what was published, and what is open in the order of its moments
// and epochs.
func (o *index) Append(dst []byte, s *indexState) []byte {
	dst = wire.AppendVarint(dst, s.events)
	for k := range s.sums {
		dst = s.sums[k].Append(dst)
	}
	open := slices.Clone(s.open)
	slices.SortFunc(open, func(a, b beat) int {
		c := cmp.Compare(a.Due, b.Due)
		for k := range a.Amounts {
			c = cmp.Or(c, cmp.Compare(a.Amounts[k].Epoch, b.Amounts[k].Epoch))
		}
		return c
	})
	dst = wire.AppendUvarint(dst, uint64(len(open)))
	for i := range open {
		dst = wire.AppendVarint(dst, int64(open[i].Due))
		dst = wire.AppendVarint(dst, open[i].Events)
		for _, a := range open[i].Amounts {
			dst = wire.AppendVarint(dst, a.Epoch)
			dst = wire.AppendUvarint(dst, a.Units)
		}
	}
	return dst
}

// Load reads what Append wrote.
func (o *index) Load(version uint8, src []byte, s *indexState) error {
	if version != stateVersion {
		return fmt.Errorf("heatindex: state: %w %d", event.ErrVersion, version)
	}
	r := wire.NewReader(src)
	s.events = r.Varint()
	for k := range s.sums {
		s.sums[k].Read(r)
	}
	for range r.Count() {
		b := beat{Due: event.Time(r.Varint()), Events: r.Varint()}
		for k := range b.Amounts {
			b.Amounts[k] = decay.Amount{Epoch: r.Varint(), Units: r.Uvarint()}
		}
		s.open = append(s.open, b)
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("heatindex: state: %w", err)
	}
	return nil
}
