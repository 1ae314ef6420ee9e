package embedded

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"millrace/eventlog"
	"millrace/state"
	statememory "millrace/state/memory"
)

// fullState is a backend on a disk that is full for a while.
type fullState struct {
	state.Backend
	full chan struct{} // until it is closed
}

func (s *fullState) Commit(c *state.Checkpoint) (int64, error) {
	select {
	case <-s.full:
		return s.Backend.Commit(c)
	default:
		return 0, syscall.ENOSPC
	}
}

// commitRetry is how long a checkpoint that could not be committed waits, and
// three is how often it is tried when the engine is to stop.
const commitRetry = time.Second

// An engine whose checkpoints can not be stored says so and stops when it is
// asked to; no later checkpoint takes the place of the one that was given up,
// and the next engine replays what that lacked.
func TestStoppingWithoutRoomForACheckpoint(t *testing.T) {
	for _, roomAtTheEnd := range []bool{false, true} {
		backend := &fullState{statememory.New(), make(chan struct{})}
		s := &simulation{
			t: t, random: rand.New(rand.NewPCG(1, 1)), users: 5, clock: time.UnixMilli(1_700_000_000_000),
			log: &simulatedLog{}, state: &simulatedState{Backend: backend},
		}
		s.log.blocks = append(s.log.blocks, s.block(eventlog.Config, 1, []byte("1")))
		o := s.options(2)
		o.Now, o.Checkpoints.Interval = time.Now, time.Millisecond
		e, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			b := s.events()
			s.log.blocks = append(s.log.blocks, b)
			e.Deliver(b)
		}
		for e.CheckpointErr() == nil {
			time.Sleep(time.Millisecond)
		}
		if roomAtTheEnd {
			time.AfterFunc(commitRetry, func() { close(backend.full) })
		}
		began := time.Now()
		err = e.Close()
		if roomAtTheEnd != (err == nil) || err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room at the end %v: close: %v", roomAtTheEnd, err)
		}
		if took := time.Since(began); took > 5*commitRetry {
			t.Errorf("room at the end %v: it took %v to stop", roomAtTheEnd, took)
		}
		if roomAtTheEnd == e.saver.Lost() {
			t.Errorf("room at the end %v: given up: %v", roomAtTheEnd, e.saver.Lost())
		}
		if !roomAtTheEnd {
			close(backend.full)
		}
		s.start()
		s.check("after a stop")
	}
}
