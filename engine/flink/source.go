package flink

import (
	"fmt"
	"maps"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

// Raw is a record of a partition of the source as it came. Its bytes are valid
// during a call only.
type Raw struct {
	Partition  string // "TOPIC/NUMBER"
	Offset     int64
	Time       event.Time // as the broker has it
	Key, Value []byte     // nil if there is none
}

// Verdict is what a raw record is, besides the record that was made of it.
type Verdict struct {
	// Time is the record's event time.
	Time event.Time
	// Punctuation says that it is a punctuation mark.
	Punctuation bool
	// Letter, if not nil, says what is wrong with a record that is none.
	Letter []byte
	// Deleted, if not empty, is the id of a user or an item, as Subject says, that
	// is to be forgotten: there is no record.
	Deleted string
	Subject operator.Subject
}

// Topics is a Source of partitions with raw records.
type Topics[T any] struct {
	// Decode makes a record of a raw one; now is the wall clock. The error is for
	// what is not the record's fault: the job is restored then.
	Decode func(r *Raw, now event.Time, into *T) (Verdict, error)
	// Watermarks makes the strategy of a partition by its name.
	Watermarks func(partition string) watermark.Strategy
	// Idle is how long, in processing time, a partition without records holds
	// event time up; 0 means for ever.
	Idle event.Duration
	// Apart has a record be late by its own partition's watermark only, which is
	// right where all records of a key are in one.
	Apart bool
	// Letters is the topic of what is no record, "" for none.
	Letters string
}

// partitions is a source's part of the chain that reads it.
type partitions interface {
	// load is given what was stored of a partition, of this subtask or another.
	load(name string, state []byte) error
	// assign names all partitions that are read from now on.
	assign(names []string) error
	// begin tells the time of the batch that begins.
	begin(now event.Time)
	// raw sends what a record of a partition, by its place in the last assign, is.
	raw(partition int, r *Raw) (Verdict, operator.Meta, error)
	// watermark is how far event time has come; idle says that no partition has
	// anything to say about it.
	watermark() (mark event.Time, idle bool)
	// streamTime is the largest event time.
	streamTime() event.Time
	// state calls fn with what is to be stored of each partition that is read.
	state(fn func(name string, state []byte) error) error
}

func (t Topics[T]) letters() string { return t.Letters }

func (t Topics[T]) reader(sinks []any) (func(operator.Meta, []byte) error, error) {
	return records[T]{}.reader(sinks)
}

func (t Topics[T]) partitions(sinks []any) (partitions, error) {
	p := &topics[T]{options: t, stored: map[string][]byte{}, clock: watermark.NewNamed(t.Idle, t.Watermarks)}
	for _, s := range sinks {
		send, ok := s.(func(operator.Meta, *T))
		if !ok {
			return nil, fmt.Errorf("%w: the topology does not read a source of %T", operator.ErrTopology, *new(T))
		}
		p.sinks = append(p.sinks, send)
	}
	return p, nil
}

// topics are the partitions of one subtask.
type topics[T any] struct {
	options Topics[T]
	sinks   []func(operator.Meta, *T)
	stored  map[string][]byte // of partitions that are not read here, or not yet
	clock   *watermark.Named
	numbers []int // in the clock, by place in the last assign
	names   []string
	told    bool // there was an assign
	now     event.Time
	record  T
}

func (p *topics[T]) load(name string, state []byte) error {
	p.stored[name] = slices.Clone(state)
	return nil
}

// assign has partitions that are new here go on where they were. All of them are
// there before any counts, so that none has time come further than another's.
func (p *topics[T]) assign(names []string) error {
	p.names, p.numbers, p.told = names, p.numbers[:0], true
	for _, name := range names {
		p.numbers = append(p.numbers, p.clock.Number(name))
	}
	for i, name := range names {
		state, ok := p.stored[name]
		if !ok {
			continue
		}
		if err := p.clock.Strategy(p.numbers[i]).Load(wire.NewReader(state)); err != nil {
			return fmt.Errorf("the watermark of partition %s: %w", name, err)
		}
		delete(p.stored, name)
		p.clock.Settle(p.numbers[i])
	}
	return nil
}

func (p *topics[T]) begin(now event.Time) {
	p.now = now
	p.clock.StartBlock(now)
}

func (p *topics[T]) raw(partition int, r *Raw) (Verdict, operator.Meta, error) {
	if partition >= len(p.names) {
		return Verdict{}, operator.Meta{}, fmt.Errorf("%w: a record of partition %d of %d", ErrProtocol, partition, len(p.names))
	}
	r.Partition = p.names[partition]
	number := p.numbers[partition]
	mark := p.clock.Watermark()
	if p.options.Apart {
		// A partition that was idle may be behind what has closed meanwhile.
		mark = max(mark, p.clock.Strategy(number).Watermark())
	}
	p.record = *new(T)
	v, err := p.options.Decode(r, p.now, &p.record)
	m := operator.Meta{Time: v.Time, Watermark: mark}
	if err != nil {
		return v, m, fmt.Errorf("partition %s, offset %d: %w", r.Partition, r.Offset, err)
	}
	if v.Letter == nil && v.Deleted == "" {
		p.clock.Observe(number, v.Time, p.now, v.Punctuation)
		for _, send := range p.sinks {
			send(m, &p.record)
		}
	}
	return v, m, nil
}

// A subtask that has not been told yet what it reads is not idle: others would go
// on without it, and what it reads then would be late.
func (p *topics[T]) watermark() (mark event.Time, idle bool) {
	idle = p.told
	for _, number := range p.numbers {
		_, asleep, _ := p.clock.Partition(number)
		idle = idle && asleep
	}
	return p.clock.Watermark(), idle
}

func (p *topics[T]) streamTime() event.Time { return p.clock.StreamTime() }

func (p *topics[T]) state(fn func(name string, state []byte) error) error {
	for i, name := range p.names {
		if err := fn(name, p.clock.Strategy(p.numbers[i]).AppendTo(nil)); err != nil {
			return err
		}
	}
	return nil
}

// raw takes a raw record of a batch.
func (s *Session) raw(in *body) error {
	partition := in.u16()
	r := Raw{Offset: int64(in.u64()), Time: in.time()}
	if in.flag() {
		r.Key = in.bytes()
	}
	if in.flag() {
		r.Value = in.bytes()
	}
	if in.bad {
		return nil
	}
	s.counts.records++
	v, m, err := s.chain.source.raw(partition, &r)
	switch {
	case err != nil:
		return err
	case v.Letter != nil:
		s.counts.letters++
		if s.letters < 0 {
			return nil
		}
		s.counts.outputs++
		return s.result.output(s.letters, operator.Meta{Time: r.Time, Watermark: m.Watermark}, r.Key, v.Letter)
	case v.Deleted != "":
		return s.chain.forget(m, appendForget(nil, v.Subject, v.Deleted), s.emit, s.sendForget(m))
	}
	return nil
}

// assigned takes the partitions that the subtask reads.
func (s *Session) assigned(in *body) error {
	var names []string
	seen := map[string]bool{}
	for range in.u16() {
		name := in.str()
		if in.bad {
			return nil
		}
		if seen[name] {
			return fmt.Errorf("%w: partition %q is assigned twice", ErrProtocol, name)
		}
		seen[name] = true
		names = append(names, name)
	}
	return s.chain.source.assign(names)
}

// sourceWatermark adds to a reply how far event time has come in the partitions.
func (s *Session) sourceWatermark() error {
	mark, idle := s.chain.source.watermark()
	s.result.idle = idle
	if mark > s.chain.mark {
		s.chain.mark, s.result.watermark = mark, mark
	}
	if s.outbox != nil {
		return s.outbox.writer.Progress(s.chain.source.streamTime(), s.chain.mark)
	}
	return nil
}

// loadSource takes what was stored of partitions.
func (s *Session) loadSource(in *body) error {
	loaded := map[string][]byte{}
	for n := in.u32(); n > 0 && !in.bad; n-- {
		name := in.str()
		loaded[name] = in.bytes()
	}
	if err := in.err("LOAD"); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(loaded)) {
		if err := s.chain.source.load(name, loaded[name]); err != nil {
			return err
		}
	}
	return nil
}
