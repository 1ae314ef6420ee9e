package source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/event"
	"millrace/event/wire"
	"millrace/source"
)

// clock is a clock that only sleeping moves.
type clock struct {
	now    time.Time
	pauses []time.Duration
	err    error
}

func (c *clock) sleep(_ context.Context, d time.Duration) error {
	if c.err != nil {
		return c.err
	}
	c.now = c.now.Add(d)
	c.pauses = append(c.pauses, d)
	return nil
}

func (c *clock) pacer(speed float64) *source.Pacer {
	return source.NewPacer(speed, func() time.Time { return c.now }, c.sleep)
}

func TestPacer(t *testing.T) {
	const start = 1_000_000_000_000
	second := time.Second
	for _, c := range []struct {
		name  string
		speed float64
		times []event.Time // after start, in ms
		want  []time.Duration
	}{
		{"real time", 1, []event.Time{0, 1000, 1000, 3500}, []time.Duration{second, 2500 * time.Millisecond}},
		{"ten times", 10, []event.Time{0, 1000, 3000}, []time.Duration{second / 10, second / 5}},
		{"half", 0.5, []event.Time{0, 1000}, []time.Duration{2 * second}},
		{"as fast as possible", 0, []event.Time{0, 1000, 1 << 40}, nil},
		{"negative is as fast as possible", -1, []event.Time{0, 1000}, nil},
		{"out of order", 1, []event.Time{0, 5000, 2000, 6000}, []time.Duration{5 * second, second}},
		{"before the first", 1, []event.Time{0, -5000, 1000}, []time.Duration{second}},
		{"less than a millisecond is no pause", 1000, []event.Time{0, 500, 900, 1000}, []time.Duration{time.Millisecond}},
		{"a gap beyond time.Duration", 1e-9, []event.Time{0, 1 << 40}, []time.Duration{1 << 62}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := clock{now: time.Unix(5, 0)}
			pacer := clock.pacer(c.speed)
			for _, at := range c.times {
				if err := pacer.Wait(t.Context(), start+at); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(clock.pauses, c.want) {
				t.Errorf("pauses %v, want %v", clock.pauses, c.want)
			}
		})
	}
}

// A consumer that fell behind gets events without pauses until it caught up.
func TestPacerCatchesUp(t *testing.T) {
	clock := clock{now: time.Unix(5, 0)}
	pacer := clock.pacer(1)
	for second := range event.Time(10) {
		if second == 3 {
			clock.now = clock.now.Add(4 * time.Second)
		}
		if err := pacer.Wait(t.Context(), second*event.Second); err != nil {
			t.Fatal(err)
		}
	}
	want := []time.Duration{time.Second, time.Second, time.Second, time.Second, time.Second}
	if !slices.Equal(clock.pauses, want) {
		t.Errorf("pauses %v, want %v: seconds 3 to 6 are late", clock.pauses, want)
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := source.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Sleep after cancel: %v", err)
	}
	if err := source.Sleep(t.Context(), 1); err != nil {
		t.Errorf("Sleep: %v", err)
	}
}

// script is a Reader of a script: e is an event (with a time in seconds), c a
// change, b a bad input, ! an error, . a moment where it is not ready.
type script struct {
	steps []string
	row   uint64
}

var errScript = errors.New("broken")

func (s *script) Name() string      { return "script" }
func (s *script) Total() int64      { return 0 }
func (s *script) Done() int64       { return 0 }
func (s *script) Close() error      { return nil }
func (s *script) Skip(uint64) error { return nil }
func (s *script) Ready() bool       { return len(s.steps) == 0 || s.steps[0] != "." }
func (s *script) Next() (source.Record, error) {
	for len(s.steps) > 0 && s.steps[0] == "." {
		s.steps = s.steps[1:]
	}
	if len(s.steps) == 0 {
		return source.Record{}, io.EOF
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	s.row++
	switch step[0] {
	case 'e':
		var at event.Time
		fmt.Sscanf(step, "e%d", &at)
		return source.Record{Row: s.row, Event: &event.Event{User: "u", Item: "i", Type: "view", Time: at * event.Second}}, nil
	case 'c':
		return source.Record{Row: s.row, Change: &event.Change{Kind: event.PutItem, Item: &event.Item{ID: step}}}, nil
	case 'b':
		return source.Record{Row: s.row, Bad: &source.Bad{Raw: []byte(step), Err: &event.FieldError{Field: step}}}, nil
	}
	return source.Record{}, errScript
}

// describe decodes a batch: its records, and the row that it ends with.
func describe(t *testing.T, b source.Batch) string {
	t.Helper()
	var words []string
	r := wire.NewReader(b.Payload)
	for range b.Count {
		if b.Changes {
			words = append(words, event.ReadChange(r).Item.ID)
			continue
		}
		var e event.Event
		event.ReadEvent(r, &e, nil)
		words = append(words, fmt.Sprintf("e%d", e.Time/event.Second))
	}
	if r.Err() != nil || r.Len() != 0 {
		t.Fatalf("payload of %d records: %v, %d bytes left", b.Count, r.Err(), r.Len())
	}
	return fmt.Sprintf("%s @%d", strings.Join(words, " "), b.Row)
}

func TestBatcher(t *testing.T) {
	for _, c := range []struct {
		name, script string
		opt          source.BatchOptions
		want         []string
	}{
		{"nothing", "", source.BatchOptions{}, []string{"EOF"}},
		{"by count", "e1 e2 e3 e4 e5", source.BatchOptions{Count: 2}, []string{"e1 e2 @2", "e3 e4 @4", "e5 @5", "EOF"}},
		{"by bytes", "e1 e2 e3", source.BatchOptions{Bytes: 1}, []string{"e1 @1", "e2 @2", "e3 @3", "EOF"}},
		{"by kind", "c1 c2 e1 c3 e2", source.BatchOptions{}, []string{"c1 c2 @2", "e1 @3", "c3 @4", "e2 @5", "EOF"}},
		{"bad ones part no changes", "c1 b1 c2", source.BatchOptions{}, []string{"c1 c2 @3", "bad b1@2", "EOF"}},
		{"bad ones do not part", "b1 e1 b2 e2 b3", source.BatchOptions{}, []string{"e1 e2 @4", "bad b1@1 b2@3 b3@5", "EOF"}},
		{"an error comes after what was read", "e1 e2 ! e3", source.BatchOptions{}, []string{"e1 e2 @2", "broken"}},
		{"what is there is not held up", "e1 e2 . e3 . . c1", source.BatchOptions{}, []string{"e1 e2 @2", "e3 @3", "c1 @4", "EOF"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var bad []string
			c.opt.Bad = func(row uint64, b *source.Bad) error {
				bad = append(bad, fmt.Sprintf("%s@%d", b.Raw, row))
				return nil
			}
			b := source.NewBatcher(&script{steps: strings.Fields(c.script)}, c.opt)
			var got []string
			for {
				batch, err := b.Next(t.Context())
				if err != nil {
					if len(bad) > 0 {
						got = append(got, "bad "+strings.Join(bad, " "))
					}
					got = append(got, err.Error())
					if _, again := b.Next(t.Context()); !errors.Is(again, err) {
						t.Errorf("after %v: %v", err, again)
					}
					break
				}
				got = append(got, describe(t, batch))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("batches %q, want %q", got, c.want)
			}
		})
	}
}

func TestBatcherPaces(t *testing.T) {
	clock := clock{now: time.Unix(5, 0)}
	b := source.NewBatcher(&script{steps: strings.Fields("c1 e10 e10 e11 e11 e9 e13 c2")}, source.BatchOptions{Pacer: clock.pacer(1)})
	want := []string{"c1 @1", "e10 e10 @3", "e11 e11 e9 @6", "e13 @7", "c2 @8"}
	for i, w := range want {
		if i == 2 {
			clock.err = context.Canceled
			if _, err := b.Next(t.Context()); !errors.Is(err, context.Canceled) {
				t.Fatalf("Next while an event is held up: %v", err)
			}
			clock.err = nil
		}
		batch, err := b.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(t, batch); got != w {
			t.Errorf("batch %d is %q, want %q", i, got, w)
		}
	}
	if want := []time.Duration{time.Second, 2 * time.Second}; !slices.Equal(clock.pauses, want) {
		t.Errorf("pauses %v, want %v", clock.pauses, want)
	}
}

func TestBatcherStopsWhereBadInputsCannotBeKept(t *testing.T) {
	full := errors.New("dead letters are full")
	b := source.NewBatcher(&script{steps: strings.Fields("e1 b1 e2")}, source.BatchOptions{
		Bad: func(uint64, *source.Bad) error { return full },
	})
	batch, err := b.Next(t.Context())
	if err != nil || describe(t, batch) != "e1 @1" {
		t.Fatalf("first batch %+v, %v", batch, err)
	}
	if _, err := b.Next(t.Context()); !errors.Is(err, full) {
		t.Errorf("after it: %v", err)
	}
}
