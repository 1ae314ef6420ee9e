// Package unkeyed is state that belongs to no key: what Flink calls operator
// state.
//
// In Flink it belongs to the parallel instances of an operator, so that what
// an operator computes depends on how many there are. Here it belongs to
// slots, whose number is part of the topology and does not change: an instance
// has the slots of its key groups, and when the shards become more or fewer,
// slots move. Results are the same over any number of shards.
//
//   - List state is a [List] a slot: [Add]. Flink deals out single elements
//     when it rescales, round robin; here the elements of a slot stay together
//     and in order, and slots are dealt out evenly. An input's slot is up to
//     Spec.Slot: the partition that it was read from, say, or a hash.
//   - Union state, of which every instance gets all elements when it is
//     restored, has no use in an operator here: it is a pure fold, which
//     cannot tell that it was restored. What it is used for in Flink is there:
//     a source that finds its positions again reads all elements out of a
//     checkpoint with [Elements], before the run begins; and what every
//     instance is to know while it runs is broadcast, see package broadcast.
package unkeyed

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/keyed"
)

// PortResults emits what a stage of Add emits.
const PortResults = "results"

// keys has a key in each key group, the least there is.
var keys = func() (keys [operator.KeyGroups]uint64) {
	found := [operator.KeyGroups]bool{}
	for k, left := uint64(0), len(keys); left > 0; k++ {
		if g := operator.KeyGroup(k); !found[g] {
			keys[g], found[g] = k, true
			left--
		}
	}
	return keys
}()

// Key is the key of one of so many slots, from 1 to operator.KeyGroups, for a
// stage of one's own: slots are evenly spread over any number of shards. A
// slot beyond them counts modulo their number.
func Key(slot uint64, slots int) uint64 {
	return keys[int(slot%uint64(slots))*operator.KeyGroups/slots]
}

// List is the state of a slot.
type List[E any] struct{ keyed.List[E] }

// Spec describes a stage with list state: elements of type E, inputs of type
// I, results of type O.
type Spec[I, E, O any] struct {
	// Name, Version and Parallelism are the stage's, see operator.Stage.
	Name        string
	Version     uint8
	Parallelism int
	// Slots is how many there are, 0 for operator.KeyGroups. It must not
	// change once there is state.
	Slots int
	// Slot is the slot of an input; it counts modulo Slots.
	Slot func(in *I) uint64
	// Fold applies an input to the list of its slot. A slot sees its inputs in
	// the order of the source if the stage reads it.
	Fold func(c *operator.Context, list *List[E], in *I, emit func(t event.Time, result O))
	// Timer, if set, is called when a timer that Fold has set is due.
	Timer func(c *operator.Context, list *List[E], at event.Time, emit func(t event.Time, result O))
	// Element is how an element is stored.
	Element codec.Codec[E]
}

// Add adds a stage with list state.
func Add[I, E, O any](in operator.Stream[I], spec Spec[I, E, O]) operator.Handle {
	if err := spec.check(); err != nil {
		in.Refuse(fmt.Errorf("unkeyed stage %q: %w", spec.Name, err))
	}
	if spec.Slots == 0 {
		spec.Slots = operator.KeyGroups
	}
	if spec.Version == 0 {
		spec.Version = 1
	}
	layout := layoutOf(spec.Version, spec.Element)
	return operator.Add(in, operator.Stage[uint64, List[E], I]{
		Name: spec.Name, Version: spec.Version, Parallelism: spec.Parallelism,
		Key: func(in *I) uint64 { return Key(spec.Slot(in), spec.Slots) },
		New: func(p *operator.Ports) operator.Operator[uint64, List[E], I] {
			return &listed[I, E, O]{layout, spec, operator.Out[O](p, PortResults)}
		},
	})
}

func layoutOf[E any](version uint8, element codec.Codec[E]) *keyed.Layout[List[E]] {
	return keyed.Declare(version, func(d *keyed.Descriptor, s *List[E]) { s.Declare(d, "list", element) })
}

func (s *Spec[I, E, O]) check() error {
	switch {
	case s.Slot == nil || s.Fold == nil || s.Element.Append == nil || s.Element.Load == nil:
		return fmt.Errorf("%w: Slot, Fold and Element are needed", operator.ErrTopology)
	case s.Slots < 0 || s.Slots > operator.KeyGroups:
		return fmt.Errorf("%w: %d slots: want 1 to %d", operator.ErrTopology, s.Slots, operator.KeyGroups)
	}
	return nil
}

// listed is the operator of a stage with list state.
type listed[I, E, O any] struct {
	*keyed.Layout[List[E]]
	spec    Spec[I, E, O]
	results *operator.Output[O]
}

// Fold applies an input to the list of its slot.
func (o *listed[I, E, O]) Fold(c *operator.Context, _ uint64, s *List[E], in *I) {
	o.spec.Fold(c, s, in, o.results.Emit)
}

// Timer calls that of the specification.
func (o *listed[I, E, O]) Timer(c *operator.Context, _ uint64, s *List[E], at event.Time) {
	if o.spec.Timer != nil {
		o.spec.Timer(c, s, at, o.results.Emit)
	}
}

// Elements are all elements of a stage of Add in a checkpoint, of all slots,
// in the order of the slots' keys. each calls a function for every key of
// every stage in the order of keys, as Pipeline.State does.
func Elements[E any](each func(fn func(stage, key string, value []byte) error) error, stage string, version uint8, element codec.Codec[E]) ([]E, error) {
	layout := layoutOf(version, element)
	var all []E
	err := each(func(of, key string, value []byte) error {
		if of != stage {
			return nil
		}
		h, state, err := operator.SplitState(value)
		var s List[E]
		if err == nil {
			err = layout.Load(h.Version, state, &s)
		}
		if err != nil {
			return fmt.Errorf("stage %s: read the slot of key %x: %w", stage, key, err)
		}
		all = append(all, s.All()...)
		return nil
	})
	return all, err
}
