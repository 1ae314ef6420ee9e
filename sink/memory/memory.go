// Package memory is a sink that keeps what is published in memory: for tests,
// which have it fail.
package memory

import (
	"context"
	"errors"
	"sync"

	"millrace/operator/publish"
	"millrace/sink"
)

// ErrNotOpen is the error of a commit to a sink that is not open.
var ErrNotOpen = errors.New("the sink is not open")

// Topics is what sinks commit to: it outlives them, as a broker does.
type Topics struct {
	// Fail, if set, is asked before and after each commit whether it is to
	// fail: after it, it has taken place all the same.
	Fail func(committed bool) error

	mutex   sync.Mutex
	records []publish.Record
	names   map[string]*held
}

// held is what is known of the sinks of one name.
type held struct {
	progress sink.Progress
	owner    *Sink // that was opened last
}

// Records is all that was committed, in order.
func (t *Topics) Records() []publish.Record {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return append([]publish.Record(nil), t.records...)
}

// Sink commits to Topics.
type Sink struct {
	topics *Topics
	name   string
	opened bool
	fenced bool
}

// New makes a sink that commits to topics under a name.
func New(t *Topics, name string) *Sink { return &Sink{topics: t, name: name} }

// Open takes the name over; the sink that had it is fenced.
func (s *Sink) Open(context.Context) (sink.Progress, error) {
	s.topics.mutex.Lock()
	defer s.topics.mutex.Unlock()
	if s.fenced {
		return sink.Progress{}, sink.ErrFenced
	}
	if s.topics.names == nil {
		s.topics.names = map[string]*held{}
	}
	h := s.topics.names[s.name]
	if h == nil {
		h = &held{}
		s.topics.names[s.name] = h
	}
	if h.owner != nil && h.owner != s {
		h.owner.fenced = true
	}
	h.owner, s.opened = s, true
	return h.progress, nil
}

// Commit keeps the records and the progress.
func (s *Sink) Commit(ctx context.Context, blocks []sink.Block, p sink.Progress) error {
	t := s.topics
	t.mutex.Lock()
	defer t.mutex.Unlock()
	switch {
	case s.fenced:
		return sink.ErrFenced
	case !s.opened:
		return ErrNotOpen
	}
	s.opened = false
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.Fail != nil {
		if err := t.Fail(false); err != nil {
			return err
		}
	}
	for _, b := range blocks {
		t.records = append(t.records, b.Records...)
	}
	t.names[s.name].progress = p
	if t.Fail != nil {
		if err := t.Fail(true); err != nil {
			return err
		}
	}
	s.opened = true
	return nil
}

// Close lets go of the topics.
func (s *Sink) Close() error {
	s.topics.mutex.Lock()
	defer s.topics.mutex.Unlock()
	s.opened = false
	return nil
}
