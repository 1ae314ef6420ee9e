package flink

import (
	"errors"
	"fmt"

	"millrace/operator"
)

const (
	// busyItems is from how many items on a batch is that of a busy job: with
	// fewer there is time to write state back that a checkpoint would have to
	// wait for.
	busyItems = 512
	// idleDirty and busyDirty are how many keys of a stage may have changed since
	// they were written last; idleSlice and busySlice how many are written with
	// one reply. A key that changes all the time is then written more often, so a
	// busy job bounds only what would be held up by its checkpoints for long.
	idleDirty, busyDirty = 1 << 10, 1 << 16
	idleSlice, busySlice = 1 << 7, 1 << 11
)

// flush is the writing back of changed keys between two snapshots.
type flush struct {
	open []bool // by place in the chain: keys are left of what has begun
}

// writeBack adds changed keys to the reply to a batch of so many items, if there
// are many.
func (s *Session) writeBack(items int) error {
	most, slice := busyDirty, busySlice
	if items < busyItems {
		most, slice = idleDirty, idleSlice
	}
	limited := s.overLimit()
	for at, t := range s.chain.tables {
		if len(s.flush.open) <= at {
			s.flush.open = append(s.flush.open, false)
		}
		if !s.flush.open[at] {
			if t.Dirty() <= most && (!limited || t.Dirty() == 0) {
				continue
			}
			t.BeginCheckpoint()
		}
		s.flush.open[at] = t.Encode(slice) > 0
		if err := s.writes(at, t); err != nil {
			return err
		}
	}
	return nil
}

// snapshot adds all keys to the reply that have changed since they were written.
func (s *Session) snapshot(in *body) error {
	_ = in.u64() // the checkpoint's number, for who reads what travels
	_ = in.flag()
	if err := in.err("SNAPSHOT"); err != nil {
		return err
	}
	if s.outbox != nil {
		if err := s.outbox.settled(); err != nil {
			return err
		}
	}
	s.result.begin()
	if s.chain.source != nil {
		err := s.chain.source.state(func(name string, state []byte) error {
			return s.result.state(SourceChain, operator.StateWrite{Key: []byte(name), Value: state})
		})
		if err = errors.Join(err, s.sourceWatermark()); err != nil { // whether it is idle is said with every reply
			return err
		}
	}
	for at, t := range s.chain.tables {
		if at < len(s.flush.open) && s.flush.open[at] { // the older values first
			s.flush.open[at] = false
			t.Encode(int(^uint(0) >> 1))
		}
		if err := s.writes(at, t); err != nil {
			return err
		}
		t.BeginCheckpoint()
		t.Encode(int(^uint(0) >> 1))
		if err := s.writes(at, t); err != nil {
			return err
		}
	}
	return s.result.end()
}

// writes adds what a table has encoded.
func (s *Session) writes(at int, t operator.Table) error {
	name := s.chain.layout.nodes[s.chain.stages[at]].Name
	list := t.TakeWrites()
	s.counts.stateWrites += uint64(len(list))
	for _, w := range list {
		if err := s.result.state(name, w); err != nil {
			return err
		}
	}
	return nil
}

// bytes is about how much memory the session's state takes.
func (s *Session) bytes() (n int64) {
	for _, t := range s.chain.tables {
		n += t.Bytes()
	}
	return n
}

// overLimit reports whether the states of the worker take more memory than they
// may.
func (s *Session) overLimit() bool {
	limit := s.worker.options.MemoryLimit
	return limit > 0 && s.worker.used(s, s.bytes()) > limit
}

// makeRoom drops state from memory that Flink has, until this session takes no
// more than its share. What was in the last reply is stored by now.
func (s *Session) makeRoom() {
	if !s.overLimit() {
		return
	}
	own := s.bytes()
	share := float64(s.worker.options.MemoryLimit) / float64(s.worker.used(s, own))
	for at, t := range s.chain.tables {
		if at < len(s.flush.open) && s.flush.open[at] {
			continue // what it deletes is not stored yet
		}
		if t.Dirty() == 0 {
			t.BeginCheckpoint() // the one before is stored, whose deletions it held
		}
		t.Evict(int64(float64(t.Bytes()) * share))
	}
}

// answerLoaded answers for keys that were loaded, so that they can be evicted.
func (s *Session) answerLoaded(t operator.Table) error {
	t.Answers()
	if s.overLimit() {
		t.Evict(int64(float64(t.Bytes()) * float64(s.worker.options.MemoryLimit) / float64(s.worker.used(s, s.bytes()))))
	}
	return s.pass()
}

// cold reads a key back from the state that Flink keeps; nil without a bound of
// memory.
func (s *Session) cold() operator.Cold {
	if s.worker.options.MemoryLimit == 0 {
		return nil
	}
	return func(stage string, key []byte) ([]byte, bool, error) {
		s.counts.stateReads++
		s.scratch = appendBytes(appendBytes(beginFrame(s.scratch[:0], frameRead), stage), key)
		endFrame(s.scratch, 0)
		if _, err := s.conn.Write(s.scratch); err != nil {
			return nil, false, err
		}
		kind, b, err := s.values.next()
		if err != nil {
			return nil, false, err
		}
		in := body{b: b}
		found := in.flag()
		var value []byte
		if found {
			value = in.bytes()
		}
		if kind != frameValue {
			return nil, false, fmt.Errorf("%w: a frame of type %d where a VALUE was asked for", ErrProtocol, kind)
		}
		return value, found, in.err("VALUE")
	}
}
