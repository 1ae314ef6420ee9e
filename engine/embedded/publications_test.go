package embedded

import (
	"context"
	"errors"
	"slices"
	"testing"

	"millrace/operator/publish"
	"millrace/sink"
	sinkmemory "millrace/sink/memory"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// errLost is the error of a transaction that the simulation has fail.
var errLost = errors.New("the connection is lost")

// newTopics makes topics whose transactions sometimes fail, and sometimes only
// seem to.
func (s *simulation) newTopics() *sinkmemory.Topics {
	return &sinkmemory.Topics{Fail: func(bool) error {
		if s.random.IntN(5) == 0 {
			return errLost
		}
		return nil
	}}
}

// steppedPublications is a publisher that the simulation moves itself.
type steppedPublications struct{ *sink.Publisher }

// newPublications is what a process that starts has.
func (s *simulation) newPublications() *steppedPublications {
	return &steppedPublications{sink.NewPublisher(sink.Options{
		Sink: sinkmemory.New(s.topics, "simulation"), Log: "simulation", Last: uint64(len(s.log.blocks)), Now: s.now,
	})}
}

// Sync steps until all is committed.
func (p *steppedPublications) Sync(_ context.Context, block uint64) error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for p.Publisher.Sync(now, block) != nil {
		p.Step(context.Background())
	}
	return nil
}

// allPublications keeps what it is given.
type allPublications struct{ records []publish.Record }

func (a *allPublications) Put(b sink.Block)                   { a.records = append(a.records, b.Records...) }
func (a *allPublications) Sync(context.Context, uint64) error { return nil }
func (a *allPublications) Err() error                         { return nil }
func (a *allPublications) End()                               {}

// checkPublications compares what was published with what a clean replay
// publishes.
func (s *simulation) checkPublications(when string, clean *allPublications) {
	if err := s.publications.Sync(context.Background(), s.engine.core.block); err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	got, want := byKey(s.topics.Records()), byKey(clean.records)
	if len(got) != len(want) {
		s.t.Errorf("seed %d: %s: records of %d keys were published, want %d", s.seed, when, len(got), len(want))
	}
	for key, values := range want {
		if !slices.Equal(got[key], values) {
			s.t.Errorf("seed %d: %s: of %s was published %q, want %q", s.seed, when, key, got[key], values)
		}
	}
}

// byKey is the values of each topic and key in their order.
func byKey(records []publish.Record) map[string][]string {
	all := map[string][]string{}
	for _, r := range records {
		name := r.Topic + " " + r.Key
		all[name] = append(all[name], string(r.Value))
	}
	return all
}

// An engine whose sink another one has taken over stops, and says why.
func TestEngineStopsWhenItIsFenced(t *testing.T) {
	s := &simulation{t: t, log: &simulatedLog{}}
	publications := &fencedPublications{}
	o := Options{Build: simulationProgram, Log: s.log, State: statememory.New(), Views: viewmemory.New(), Publications: publications}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	<-e.Stopped()
	if !errors.Is(e.Err(), sink.ErrFenced) || !errors.Is(e.Err(), ErrFailed) {
		t.Errorf("the engine stopped with %v, want ErrFenced", e.Err())
	}
	if err := e.Close(); !errors.Is(err, sink.ErrFenced) {
		t.Errorf("close: %v, want ErrFenced", err)
	}
}

// fencedPublications were taken over.
type fencedPublications struct{ allPublications }

func (fencedPublications) Err() error { return sink.ErrFenced }
