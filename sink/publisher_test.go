package sink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"millrace/operator/publish"
	"millrace/sink"
	"millrace/sink/memory"
)

var errAway = errors.New("the broker is away")

// run runs a publisher until the test, or what it returns, ends it.
func run(t *testing.T, p *sink.Publisher) (stop func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- p.Run(context.Background()) }()
	return func() {
		p.Close()
		if err := <-done; err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// put puts a block with so many records.
func put(p *sink.Publisher, number uint64, records int) {
	b := sink.Block{Number: number}
	for i := range records {
		b.Records = append(b.Records, publish.Record{Topic: "a", Key: "k", Value: fmt.Appendf(nil, "%d.%d", number, i)})
	}
	p.Put(b)
}

// values are the values that were committed.
func values(topics *memory.Topics) string {
	var list []string
	for _, r := range topics.Records() {
		list = append(list, string(r.Value))
	}
	return strings.Join(list, " ")
}

func TestRecordsAreCommittedAtOnceAfterAPauseAndThenByInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topics := &memory.Topics{}
		p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L"})
		stop := run(t, p)
		time.Sleep(time.Second)
		put(p, 1, 2)
		put(p, 2, 0)
		synctest.Wait()
		if got := values(topics); got != "1.0 1.1" {
			t.Errorf("committed %q after a pause, want the first block at once", got)
		}
		put(p, 3, 1)
		put(p, 4, 1)
		time.Sleep(sink.DefaultInterval - time.Millisecond)
		synctest.Wait()
		if got := values(topics); got != "1.0 1.1" {
			t.Errorf("committed %q before the interval was over", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := values(topics); got != "1.0 1.1 3.0 4.0" {
			t.Errorf("committed %q after the interval", got)
		}
		put(p, 5, 1)
		if err := p.Sync(t.Context(), 5); err != nil {
			t.Errorf("sync: %v", err)
		}
		if s := p.Status(); s.Records != 5 || s.Commits != 3 || s.Committed != 5 || s.WaitingRecords != 0 || s.WaitingBytes != 0 {
			t.Errorf("status %+v", s)
		}
		stop()
	})
}

func TestASinkThatIsAwayHoldsTheEngineUpAndGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Bool
		topics := &memory.Topics{Fail: func(bool) error {
			if back.Load() {
				return nil
			}
			return errAway
		}}
		p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L", MaxRecords: 3, Words: func(err error) string { return "no: " + err.Error() }})
		stop := run(t, p)
		put(p, 1, 2)
		if err := p.Sync(t.Context(), 1); !errors.Is(err, errAway) {
			t.Errorf("sync: %v, want %v", err, errAway)
		}
		put(p, 2, 2) // there was room
		blocked := make(chan struct{})
		go func() { put(p, 3, 1); close(blocked) }()
		for range 10_000 { // an hour; no try in between looks as if all were well
			time.Sleep(time.Hour / 10_000)
			if s := p.Status(); s.Err == nil {
				t.Fatalf("status %+v, want the error", s)
			}
		}
		s := p.Status()
		if !s.Blocked || s.WaitingRecords != 4 || s.Words != "no: "+errAway.Error() || s.Failures < 1000 {
			t.Errorf("status %+v, want one that is blocked with 4 records", s)
		}
		back.Store(true)
		<-blocked
		if err := p.Sync(t.Context(), 3); err != nil {
			t.Errorf("sync: %v", err)
		}
		if got := values(topics); got != "1.0 1.1 2.0 2.1 3.0" {
			t.Errorf("committed %q", got)
		}
		if s := p.Status(); s.Blocked || s.Err != nil || s.WaitingRecords != 0 {
			t.Errorf("status %+v, want one that works", s)
		}
		stop()
	})
}

func TestAnEngineThatIsToStopIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topics := &memory.Topics{Fail: func(bool) error { return errAway }}
		p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L", MaxRecords: 1})
		stop := run(t, p)
		put(p, 1, 1)
		done := make(chan struct{})
		go func() { put(p, 2, 1); close(done) }()
		time.Sleep(time.Minute)
		p.End()
		<-done
		stop()
		if got := values(topics); got != "" {
			t.Errorf("committed %q", got)
		}
	})
}

// What an earlier run has committed is not committed again: of the same log,
// and only as far as that log was when it was opened.
func TestWhereAPublisherGoesOn(t *testing.T) {
	for _, c := range []struct {
		name     string
		progress sink.Progress
		last     uint64
		want     string
	}{
		{"a new sink", sink.Progress{}, 3, "1.0 2.0 3.0 4.0"},
		{"behind the log", sink.Progress{Log: "L", Run: "R", Block: 2}, 3, "3.0 4.0"},
		{"as far as the log", sink.Progress{Log: "L", Run: "R", Block: 3}, 3, "4.0"},
		{"beyond a log that was put back", sink.Progress{Log: "L", Run: "R", Block: 30}, 3, "4.0"},
		{"of another log", sink.Progress{Log: "M", Run: "R", Block: 3}, 3, "1.0 2.0 3.0 4.0"},
	} {
		for _, early := range []bool{false, true} { // whether the sink is opened before the blocks come
			t.Run(fmt.Sprint(c.name, early), func(t *testing.T) {
				topics := &memory.Topics{}
				seed := memory.New(topics, "x")
				if _, err := seed.Open(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := seed.Commit(t.Context(), nil, c.progress); err != nil {
					t.Fatal(err)
				}
				p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L", Last: c.last})
				if early {
					p.Step(t.Context())
				}
				for n := range uint64(4) {
					put(p, n+1, 1)
				}
				put(p, 2, 1) // recovery has begun anew
				p.Step(t.Context())
				p.Step(t.Context())
				if got := values(topics); got != c.want {
					t.Errorf("committed %q, want %q", got, c.want)
				}
			})
		}
	}
}

// A commit of which only the answer was lost has taken place, and is not made
// again.
func TestACommitThatSeemedToFail(t *testing.T) {
	for _, lost := range []bool{false, true} {
		topics := &memory.Topics{}
		p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L"})
		p.Step(t.Context())
		put(p, 1, 1)
		topics.Fail = func(committed bool) error {
			if committed == lost {
				return errAway
			}
			return nil
		}
		p.Step(t.Context())
		topics.Fail = nil
		put(p, 2, 1)
		p.Step(t.Context())
		p.Step(t.Context())
		if got := values(topics); got != "1.0 2.0" {
			t.Errorf("answer lost %v: committed %q", lost, got)
		}
	}
}

// A commit of a log that was put back, of which only the answer was lost, is
// told from what the log had published before.
func TestACommitThatSeemedToFailInALogThatWasPutBack(t *testing.T) {
	topics := &memory.Topics{}
	seed := memory.New(topics, "x")
	_, _ = seed.Open(t.Context())
	_ = seed.Commit(t.Context(), nil, sink.Progress{Log: "L", Run: "R", Block: 30})
	p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L", Last: 3})
	p.Step(t.Context())
	put(p, 4, 1)
	topics.Fail = func(bool) error { return errAway }
	p.Step(t.Context())
	topics.Fail = nil
	p.Step(t.Context())
	p.Step(t.Context())
	if got := values(topics); got != "4.0" {
		t.Errorf("committed %q, want the block that was not", got)
	}
}

func TestAPublisherThatIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topics := &memory.Topics{}
		old := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L"})
		stopOld := run(t, old)
		put(old, 1, 1)
		synctest.Wait()
		taken := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L", Last: 1})
		stop := run(t, taken)
		synctest.Wait()
		if err := old.Err(); err != nil {
			t.Errorf("fenced before it was tried: %v", err)
		}
		put(old, 2, 1)
		time.Sleep(time.Second)
		if err := old.Err(); !errors.Is(err, sink.ErrFenced) {
			t.Errorf("the old one: %v, want ErrFenced", err)
		}
		if err := old.Sync(t.Context(), 2); !errors.Is(err, sink.ErrFenced) {
			t.Errorf("sync of the old one: %v, want ErrFenced", err)
		}
		for n := range uint64(1000) { // nothing piles up
			put(old, n+3, 1)
		}
		put(taken, 2, 1)
		if err := taken.Sync(t.Context(), 2); err != nil {
			t.Error(err)
		}
		if got := values(topics); got != "1.0 2.0" {
			t.Errorf("committed %q", got)
		}
		stopOld()
		stop()
	})
}

// After an outage what has piled up is committed in several transactions.
func TestWhatHasPiledUpIsCommittedInParts(t *testing.T) {
	topics := &memory.Topics{}
	var sizes []int
	last := 0
	topics.Fail = nil
	p := sink.NewPublisher(sink.Options{Sink: memory.New(topics, "x"), Log: "L"})
	for n := range uint64(5) {
		put(p, n+1, 9000)
	}
	p.Step(t.Context())
	for p.Status().WaitingRecords > 0 {
		p.Step(t.Context())
		n := len(topics.Records())
		sizes = append(sizes, n-last)
		last = n
	}
	if !slices.Equal(sizes, []int{18000, 18000, 9000}) {
		t.Errorf("commits of %v records", sizes)
	}
}
