package eventlog

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestATicketIsWaitedForNoLongerThanAContext(t *testing.T) {
	leakCheck(t)
	g := newGate()
	l := open(t, "log", Options{FS: g.fs})
	a := NewAppender(l, AppenderOptions{})
	g.shut()
	ticket := submit(t, a, events(1, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ticket.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is on its way: %v", err)
	}
	g.open()
	if err := ticket.Wait(t.Context()); err != nil || ticket.Block() != 1 {
		t.Errorf("in the end: block %d, %v", ticket.Block(), err)
	}
	if err := errors.Join(a.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
}

// room is a Submitter that refuses as often as it is told to.
type room struct {
	*Appender
	refusals int
	err      error
	asked    int
}

func (r *room) Submit(b Batch) (*Ticket, error) {
	if r.asked++; r.asked <= r.refusals {
		return nil, r.err
	}
	return r.Appender.Submit(b)
}

func TestSubmitWhenRoomWaitsForRoomOnly(t *testing.T) {
	leakCheck(t)
	l := openMem(t)
	a := NewAppender(l, AppenderOptions{})
	full := &room{Appender: a, refusals: 3, err: ErrOverloaded}
	ticket, err := SubmitWhenRoom(t.Context(), full, events(1, "a"))
	if err != nil || ticket.Wait(t.Context()) != nil || full.asked != 4 {
		t.Fatalf("a full queue: asked %d times, error %v", full.asked, err)
	}
	failed := &room{Appender: a, refusals: 1, err: ErrUnavailable}
	_, err = SubmitWhenRoom(t.Context(), failed, events(1, "b"))
	wantErr(t, "a log that has failed", err, ErrUnavailable)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = SubmitWhenRoom(ctx, &room{Appender: a, refusals: 1 << 30, err: ErrOverloaded}, events(1, "c"))
	wantErr(t, "a queue that stays full", err, context.DeadlineExceeded)
	if err := errors.Join(a.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if l.Last() != 1 {
		t.Errorf("%d blocks are stored, want 1", l.Last())
	}
}
