// Package broadcast gives slowly changing data - rules, a catalogue - to all
// instances of a keyed stage: Flink's KeyedBroadcastProcessFunction.
//
// The stage has two inputs. Records of the one have keys and are folded by an
// ordinary operator. Those of the other go to every shard and change the
// broadcast state, a map, which the operator can read and nothing else can
// change. The map is stored once, and restored on every shard, over any number
// of them.
//
// If both inputs read the source, a broadcast record at a position of the
// source counts for exactly the records after it, on every shard and in every
// engine; a timer sees what was broadcast before the first record whose
// watermark has passed it. With several partitions that holds for the records
// of the same partition; those of others see a change with the block that it
// came in. Behind an exchange nothing is said about the order of the two
// inputs, as in Flink: changes must commute, by keeping the latest of a key in
// event time, for example.
//
// Unlike in Flink, Update emits nothing and has no key's state to apply itself
// to: what it did would be done once a shard.
package broadcast

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// State is the broadcast state: values by key.
type State[K cmp.Ordered, V any] struct{ all map[K]V }

// Get is the value of a key, false if there is none. What it points to must
// not be changed.
func (s *State[K, V]) Get(k K) (V, bool) {
	v, ok := s.all[k]
	return v, ok
}

// All are the keys and their values, in the order of the keys.
func (s *State[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(s.all)) {
			if !yield(k, s.all[k]) {
				return
			}
		}
	}
}

// Len is how many keys there are.
func (s *State[K, V]) Len() int { return len(s.all) }

// Writable is the broadcast state where it can be changed.
type Writable[K cmp.Ordered, V any] struct{ *State[K, V] }

// Put sets the value of a key.
func (s Writable[K, V]) Put(k K, v V) {
	if s.all == nil {
		s.all = map[K]V{}
	}
	s.all[k] = v
}

// Delete takes a key out.
func (s Writable[K, V]) Delete(k K) { delete(s.all, k) }

// Spec describes a stage with keys of type K, states of type S, inputs with
// keys of type I and broadcast inputs of type B, which change a map of RK to
// RV.
type Spec[K operator.Key, S, I, B any, RK cmp.Ordered, RV any] struct {
	// Name, Subject, Version, TTL and Parallelism are the stage's, see
	// operator.Stage. Version is that of the operator's state and of the
	// codecs.
	Name        string
	Subject     operator.Subject
	Version     uint8
	TTL         *operator.TTL
	Parallelism int
	// Key is the key of an input.
	Key func(in *I) K
	// New makes the operator of a shard. It may keep state to read from; its
	// results depend on that and on its own state only.
	New func(p *operator.Ports, state *State[RK, RV]) operator.Operator[K, S, I]
	// Update applies a broadcast record. It depends on the record and the
	// state only, so that all shards come to the same.
	Update func(m operator.Meta, state Writable[RK, RV], in *B)
	// StateKey and StateValue are how the broadcast state is stored.
	StateKey   codec.Codec[RK]
	StateValue codec.Codec[RV]
}

// tagged is a record of either input.
type tagged[I, B any] struct {
	broadcast bool
	in        I
	change    B
}

// Add adds a stage that reads in by key, and changes to its broadcast state on
// every shard.
func Add[K operator.Key, S, I, B any, RK cmp.Ordered, RV any](in operator.Stream[I], changes operator.Stream[B], spec Spec[K, S, I, B, RK, RV]) operator.Handle {
	all := operator.Union(
		operator.Map(in, func(in *I, out *tagged[I, B]) { out.in = *in }),
		operator.Map(changes, func(in *B, out *tagged[I, B]) { out.broadcast, out.change = true, *in }),
	)
	stage := operator.Stage[K, S, tagged[I, B]]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, TTL: spec.TTL, Parallelism: spec.Parallelism,
		Key:       func(in *tagged[I, B]) K { return spec.Key(&in.in) },
		Broadcast: func(in *tagged[I, B]) bool { return in.broadcast },
		New: func(p *operator.Ports) operator.Operator[K, S, tagged[I, B]] {
			return newStage(p, &spec)
		},
	}
	if !spec.complete() {
		in.Refuse(fmt.Errorf("%w: broadcast stage %q needs Key, New, Update, StateKey and StateValue", operator.ErrTopology, spec.Name))
		stage.New = nil // it is not added
	}
	return operator.Add(all, stage)
}

func (s *Spec[K, S, I, B, RK, RV]) complete() bool {
	return s.Key != nil && s.New != nil && s.Update != nil && s.StateKey.Append != nil && s.StateKey.Load != nil &&
		s.StateValue.Append != nil && s.StateValue.Load != nil
}

// stage is the operator of one shard: the one of the specification, and the
// broadcast state. It is an Answerer, and so on, if that one is.
type stage[K operator.Key, S, I, B any, RK cmp.Ordered, RV any] struct {
	spec   *Spec[K, S, I, B, RK, RV]
	op     operator.Operator[K, S, I]
	state  State[RK, RV]
	stored codec.Codec[map[RK]RV]
}

func newStage[K operator.Key, S, I, B any, RK cmp.Ordered, RV any](p *operator.Ports, spec *Spec[K, S, I, B, RK, RV]) operator.Operator[K, S, tagged[I, B]] {
	o := &stage[K, S, I, B, RK, RV]{spec: spec, stored: codec.Map(spec.StateKey, spec.StateValue)}
	o.op = spec.New(p, &o.state)
	answerer, answers := o.op.(operator.Answerer[K, S])
	timer, clocked := o.op.(operator.ProcessingTimer[K, S])
	switch {
	case answers && clocked:
		return &answeringClocked[K, S, I, B, RK, RV]{clockedStage[K, S, I, B, RK, RV]{o, timer}, answerer}
	case answers:
		return &answeringStage[K, S, I, B, RK, RV]{o, answerer}
	case clocked:
		return &clockedStage[K, S, I, B, RK, RV]{o, timer}
	}
	return o
}

// answeringStage is a stage whose operator has answers.
type answeringStage[K operator.Key, S, I, B any, RK cmp.Ordered, RV any] struct {
	*stage[K, S, I, B, RK, RV]
	operator.Answerer[K, S]
}

// clockedStage is one whose operator sets timers in processing time.
type clockedStage[K operator.Key, S, I, B any, RK cmp.Ordered, RV any] struct {
	*stage[K, S, I, B, RK, RV]
	timer operator.ProcessingTimer[K, S]
}

// ProcessingTimer is the operator's.
func (o *clockedStage[K, S, I, B, RK, RV]) ProcessingTimer(c *operator.Context, key K, s *S, at event.Time) {
	o.timer.ProcessingTimer(c, key, s, at)
}

// answeringClocked is one whose operator does both.
type answeringClocked[K operator.Key, S, I, B any, RK cmp.Ordered, RV any] struct {
	clockedStage[K, S, I, B, RK, RV]
	operator.Answerer[K, S]
}

// Fold gives an input to the operator.
func (o *stage[K, S, I, B, RK, RV]) Fold(c *operator.Context, key K, s *S, in *tagged[I, B]) {
	o.op.Fold(c, key, s, &in.in)
}

// Timer is the operator's.
func (o *stage[K, S, I, B, RK, RV]) Timer(c *operator.Context, key K, s *S, at event.Time) {
	o.op.Timer(c, key, s, at)
}

// Append is the operator's.
func (o *stage[K, S, I, B, RK, RV]) Append(dst []byte, s *S) []byte { return o.op.Append(dst, s) }

// Load is the operator's.
func (o *stage[K, S, I, B, RK, RV]) Load(version uint8, src []byte, s *S) error {
	return o.op.Load(version, src, s)
}

// Broadcast changes the broadcast state.
func (o *stage[K, S, I, B, RK, RV]) Broadcast(m operator.Meta, in *tagged[I, B]) {
	o.spec.Update(m, Writable[RK, RV]{&o.state}, &in.change)
}

// AppendBroadcast writes the broadcast state in the order of its keys.
func (o *stage[K, S, I, B, RK, RV]) AppendBroadcast(dst []byte) []byte {
	return o.stored.Append(dst, &o.state.all)
}

// LoadBroadcast reads what AppendBroadcast wrote.
func (o *stage[K, S, I, B, RK, RV]) LoadBroadcast(_ uint8, src []byte) error {
	r := wire.NewReader(src)
	o.state.all = nil
	o.stored.Load(r, &o.state.all)
	return r.End()
}
