package embedded

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/event"
	"millrace/eventlog"
	"millrace/operator"
	statememory "millrace/state/memory"
	"millrace/view"
)

// standingViews stand still while they are held.
type standingViews struct {
	view.Store
	held chan struct{} // until it is closed
}

func (v *standingViews) Publish(block uint64, streamTime event.Time, writes ...[]operator.ViewWrite) error {
	<-v.held
	return v.Store.Publish(block, streamTime, writes...)
}

// Views that stand still hold up the engine, the engine the log, and the log
// whoever sends: with what has been acknowledged and not answered yet bounded,
// and all of it answered once the views go on.
func TestSlowViewsSlowTheSource(t *testing.T) {
	const queued = 64
	log, err := eventlog.Open(t.TempDir(), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(1, 1)), users: 5, clock: time.UnixMilli(1_700_000_000_000),
		log: &simulatedLog{}, state: &simulatedState{Backend: statememory.New()},
	}
	o := s.options(2)
	views := &standingViews{o.Views, make(chan struct{})}
	o.Log, o.Views, o.Now, o.Logger = log, views, time.Now, slog.New(slog.DiscardHandler)
	if err := log.Append(&eventlog.Block{Number: 1, Kind: eventlog.Config, Count: 1, Payload: []byte("1"), Time: event.FromGo(time.Now())}); err != nil {
		t.Fatal(err)
	}
	publish := views.held
	go func() { publish <- struct{}{} }() // what recovery publishes
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	appender := eventlog.NewAppender(log, eventlog.AppenderOptions{MaxBlockEvents: 1, MaxQueuedEvents: queued, Deliver: e.Deliver})
	one := event.AppendEvent(nil, &event.Event{User: "u", Item: "i", Type: event.TypeView, Time: event.FromGo(time.Now())})
	taken, refused := 0, 0
	for began := time.Now(); refused < 3 && time.Since(began) < 20*time.Second; {
		switch _, err := appender.Submit(eventlog.Batch{Kind: eventlog.Events, Count: 1, Payload: one}); {
		case errors.Is(err, eventlog.ErrOverloaded):
			refused++
			time.Sleep(50 * time.Millisecond) // nothing moves meanwhile
		case err != nil:
			t.Fatal(err)
		default:
			taken++
			refused = 0
		}
	}
	// What waits: the log's queue and the commits under way, the engine's queue,
	// and the block that waits for the views with those published together.
	if most := 2*queued + queuedBlocks + 2*queued; refused < 3 || taken > most {
		t.Errorf("%d events were taken, refused %d times in a row: want at most %d, then refusals", taken, refused, most)
	}
	if applied := e.Applied(); applied > 1 {
		t.Errorf("block %d is answered, and views stand still", applied)
	}
	close(views.held)
	for began := time.Now(); e.Applied() < log.Last() || log.Last() < uint64(taken)+1; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d of %d blocks are answered", e.Applied(), log.Last())
		}
	}
	if err := errors.Join(appender.Close(), e.Close(), log.Close()); err != nil {
		t.Error(err)
	}
}
