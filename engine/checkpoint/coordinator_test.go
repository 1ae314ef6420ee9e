package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		takes  time.Duration // a commit
		want   []time.Duration
	}{
		{"the default", Policy{}, 0, []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}},
		{"four seconds", Policy{Interval: 4 * time.Second}, 0,
			[]time.Duration{4 * time.Second, 8 * time.Second, 12 * time.Second, 16 * time.Second, 20 * time.Second, 24 * time.Second, 28 * time.Second, 32 * time.Second}},
		{"none", Policy{Interval: -1}, 0, nil},
		// One that takes longer than the interval is followed at once.
		{"slow", Policy{Interval: 4 * time.Second}, 10 * time.Second, []time.Duration{4 * time.Second, 14020 * time.Millisecond, 24040 * time.Millisecond}},
		{"slow, with a pause", Policy{Interval: 4 * time.Second, MinPause: 3 * time.Second}, 10 * time.Second, []time.Duration{4 * time.Second, 17 * time.Second, 30 * time.Second}},
		{"a pause longer than the interval", Policy{Interval: time.Second, MinPause: 10 * time.Second}, 0,
			[]time.Duration{time.Second, 11000 * time.Millisecond, 21000 * time.Millisecond, 31000 * time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, began := newRig(t, c.policy), time.Now()
				r.backend.takes.set(c.takes)
				r.run(34 * time.Second)
				r.Close()
				got := r.starts(began)
				if len(got) != len(c.want) {
					t.Fatalf("checkpoints began at %v, want %v", got, c.want)
				}
				for i := range got {
					if late := got[i] - c.want[i]; late < 0 || late > 3*Tick*time.Duration(i+1) {
						t.Errorf("checkpoints began at %v, want %v", got, c.want)
						break
					}
				}
			})
		})
	}
}

// Where nothing has changed there is nothing to do.
func TestIdleEngineTakesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second})
		r.run(1500 * time.Millisecond)
		r.Step(r.subject, true)
		n := r.backend.commits.Load()
		for range 500 {
			r.step()
			time.Sleep(Tick)
		}
		r.Step(r.subject, true)
		if err := r.Now(r.subject); err != nil || r.backend.commits.Load() != n || r.Status().Behind {
			t.Errorf("%d checkpoints without a change, %v, behind: %v", r.backend.commits.Load()-n, err, r.Status().Behind)
		}
		r.whole()
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second, Timeout: 3 * time.Second})
		r.backend.takes.set(10 * time.Second)
		r.run(5 * time.Second)
		// It counts while it hangs, once.
		s := r.Status()
		if s.Summary.Failed != 1 || !errors.Is(s.Failing, ErrTimeout) || !errors.Is(r.Err(), ErrTimeout) || !s.Latest.Expired || s.InProgress == nil ||
			!s.InProgress.Encoded || !s.Behind || len(s.History) != 1 || !s.History[0].Expired || s.History[0].Bytes != 0 {
			t.Errorf("while it hangs: %+v", s)
		}
		r.backend.takes.set(time.Second)
		r.run(6500 * time.Millisecond) // it ends 11 s after the start
		s = r.Status()
		if s.Summary.Completed != 0 || s.Summary.Failed != 1 || s.History[0].Failures != 1 || s.History[0].Bytes == 0 || s.History[0].Duration < 10*time.Second {
			t.Errorf("once it has ended: %+v", s)
		}
		if block, _ := r.backend.stored(t); block != s.History[0].Block {
			t.Errorf("block %d is stored, want what took too long: %d", block, s.History[0].Block)
		}
		r.run(2 * time.Second)
		if s = r.Status(); s.Summary.Completed == 0 || s.Failing != nil || s.Latest.Block == 0 {
			t.Errorf("after a quick one: %+v", s)
		}
		r.backend.takes.set(0)
		r.Step(r.subject, true)
		r.whole()
	})
}

// Also where nobody takes a step meanwhile.
func TestTimeoutWithoutSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second, Timeout: 3 * time.Second, Tolerated: -1})
		r.backend.takes.set(10 * time.Second)
		r.subject.apply("a")
		r.Step(r.subject, true)
		if s := r.Summary(); s.Failed != 1 || s.Completed != 0 || !errors.Is(r.Failed(), ErrTooManyFailures) {
			t.Errorf("%+v, %v", s, r.Failed())
		}
		r.whole()
	})
}

func TestTolerated(t *testing.T) {
	for _, c := range []struct {
		tolerated, fails int
		stops            bool
	}{
		{0, 0, false}, {0, 50, false},
		{-1, 0, false}, {-1, 1, true},
		{1, 1, false}, {1, 2, true},
		{3, 3, false}, {3, 4, true},
	} {
		t.Run(fmt.Sprintf("%d of %d", c.fails, c.tolerated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, left := newRig(t, Policy{Interval: time.Second, Tolerated: c.tolerated}), c.fails
				r.backend.fail = func() error {
					if left--; left >= 0 {
						return errBroken
					}
					return nil
				}
				failed := error(nil)
				for range 60 * 50 {
					r.run(Tick)
					if failed = r.Failed(); failed != nil {
						break
					}
				}
				if (failed != nil) != c.stops || failed != nil && (!errors.Is(failed, ErrTooManyFailures) || !errors.Is(failed, errBroken)) {
					t.Fatalf("%v", failed)
				}
				if c.stops {
					synctest.Wait()
					r.run(Tick)
					if !r.Lost() || r.backend.commits.Load() != int64(c.fails) {
						t.Errorf("it goes on trying: %d tries, lost: %v", r.backend.commits.Load(), r.Lost())
					}
					r.Close() // does not wait for a stop
					return
				}
				if s := r.Summary(); s.Failed != c.fails || s.Completed == 0 || r.Err() != nil {
					t.Errorf("%+v, %v", s, r.Err())
				}
				r.Step(r.subject, true)
				r.whole()
			})
		})
	}
}

// A backend that fails at random, and recovers, has everything in the end, and
// at each moment what one block had.
func TestNothingIsLostByFailures(t *testing.T) {
	var completed, failed int
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random, fate := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)) // fate is the committing goroutine's
			r := newRig(t, Policy{Interval: 2 * time.Second, MinPause: time.Second, Timeout: 5 * time.Second})
			r.subject.slices, r.subject.slice = 5, time.Millisecond
			r.backend.fail = func() error {
				r.backend.takes.set(time.Duration(fate.IntN(3000)) * time.Millisecond)
				if fate.IntN(3) > 0 {
					return errBroken
				}
				return nil
			}
			broken := false
			r.subject.prepare = func() error {
				if broken = !broken && fate.IntN(4) == 0; broken {
					return errBroken
				}
				return nil
			}
			states := map[uint64]map[string]string{0: {}}
			for range 3000 {
				r.subject.apply("k" + strconv.Itoa(random.IntN(100)))
				states[r.subject.block] = maps.Clone(r.subject.keys)
				if random.IntN(200) == 0 {
					r.Finish(r.subject)
				}
				r.step()
				if block, keys := r.backend.stored(t); !maps.Equal(keys, states[block]) {
					t.Fatalf("seed %d: stored is not the state of block %d", seed, block)
				}
				time.Sleep(Tick)
			}
			if err := r.Now(r.subject); err != nil {
				t.Fatal(err)
			}
			r.whole()
			completed, failed = completed+r.Summary().Completed, failed+r.Summary().Failed
		})
	}
	if completed == 0 || failed == 0 {
		t.Errorf("%d completed and %d failed: that tests nothing", completed, failed)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: -1})
		stopped := make(chan struct{})
		r.subject.apply("a")
		results := make(chan error, 3)
		// The one that asks for less does not make the other one wait for ever.
		for _, block := range []uint64{5, 3, 1} {
			go func() { results <- r.Wait(t.Context(), block, stopped) }()
		}
		for range 10 {
			synctest.Wait()
			r.run(Tick)
		}
		r.Close()
		for range 3 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if block, _ := r.backend.stored(t); block < 5 || block == r.subject.block {
			t.Errorf("block %d is stored of %d", block, r.subject.block)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Wait(ctx, 1000, stopped); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a block that does not come: %v", err)
		}
		close(stopped)
		if err := r.Wait(t.Context(), 1000, stopped); !errors.Is(err, ErrStopped) {
			t.Errorf("an engine that has stopped: %v", err)
		}
	})
}

// Who asks does not wait for the interval, nor for the pause.
func TestWaitGoesBeforeInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Hour, MinPause: time.Hour})
		for range 3 {
			r.run(Tick)
			done := make(chan error, 1)
			go func() { done <- r.Wait(t.Context(), r.subject.block, nil) }()
			synctest.Wait()
			r.step()
			synctest.Wait()
			r.step()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			r.whole()
		}
	})
}

func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second})
		r.backend.takes.set(300 * time.Millisecond)
		r.run(1100 * time.Millisecond) // one is under way
		if r.Idle() {
			t.Fatal("none is under way")
		}
		if err := r.Now(r.subject); err != nil || !r.Idle() {
			t.Fatal(err)
		}
		r.whole()
		h := r.History()
		if len(h) != 2 || h[1].Stall < 300*time.Millisecond || h[0].Stall < 200*time.Millisecond || h[0].Stall >= 300*time.Millisecond {
			t.Errorf("blocks waited for it: %+v", h)
		}

		// One that can not be stored is tried until there is something else to
		// do: the engine is told to stop, or it has failed too often.
		r.backend.fail = func() error { return errBroken }
		r.subject.apply("a")
		time.AfterFunc(10*time.Second, func() { close(r.stop) })
		began := time.Now()
		if err := r.Now(r.subject); !errors.Is(err, ErrStopped) || !errors.Is(err, errBroken) || !r.Lost() || time.Since(began) > 20*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}

		r = newRig(t, Policy{Interval: time.Second, Tolerated: 2})
		r.backend.fail = func() error { return errBroken }
		r.subject.apply("a")
		if err := r.Now(r.subject); !errors.Is(err, ErrTooManyFailures) || r.backend.commits.Load() != 3 {
			t.Errorf("%v after %d tries", err, r.backend.commits.Load())
		}
	})
}

// Before the subject is replaced, what the checkpoint lacks is encoded.
func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second})
		r.Finish(r.subject) // nothing is under way
		r.subject.slices, r.subject.slice = 10, 100*time.Millisecond
		r.run(1010 * time.Millisecond)
		if r.subject.left == 0 || !r.Patient() {
			t.Fatal("nothing is left to encode")
		}
		want := r.History()
		r.Finish(r.subject)
		r.Finish(r.subject)
		if r.subject.left != 0 || r.Patient() || len(want) != 0 {
			t.Error("it is not encoded")
		}
		r.Close()
		r.step()
		if h := r.History(); len(h) != 1 || h[0].Stall < 800*time.Millisecond || r.backend.commits.Load() != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// A slice of encoding is a stall; one in progress is told of.
func TestStallAndProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second})
		r.subject.slices, r.subject.slice = 10, 2*time.Millisecond
		r.backend.takes.set(time.Second)
		r.run(1100 * time.Millisecond)
		p := r.Status().InProgress
		if p == nil || p.Encoded || p.Block == 0 || p.Started.IsZero() {
			t.Errorf("in progress: %+v", p)
		}
		r.run(300 * time.Millisecond)
		if p = r.Status().InProgress; p == nil || !p.Encoded {
			t.Errorf("in progress: %+v", p)
		}
		r.Close()
		r.step()
		if h, p := r.History(), r.Status().InProgress; len(h) != 1 || h[0].Stall != 2*time.Millisecond || h[0].Keys != 7 || h[0].LiveBytes != 700 || p != nil {
			t.Errorf("%+v, %+v", h, p)
		}
	})
}

// The last checkpoint comes after the one under way, and is given up after some
// tries.
func TestFinalStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second})
		r.backend.takes.set(500 * time.Millisecond)
		r.run(1200 * time.Millisecond)
		close(r.stop)
		r.subject.slice = time.Second
		r.Step(r.subject, true)
		r.whole()
		if s := r.Summary(); s.Stall.Max != 0 {
			t.Errorf("nothing waits for the last one, and it stalled for %v", s.Stall.Max)
		}
		if r.backend.commits.Load() != 2 {
			t.Errorf("%d commits", r.backend.commits.Load())
		}

		r = newRig(t, Policy{Interval: time.Second})
		r.backend.fail = func() error { return errBroken }
		r.run(500 * time.Millisecond)
		close(r.stop)
		r.Step(r.subject, true)
		if !r.Lost() || r.backend.commits.Load() != lastTries || !errors.Is(r.Err(), errBroken) {
			t.Errorf("lost: %v after %d tries, %v", r.Lost(), r.backend.commits.Load(), r.Err())
		}
		r.Step(r.subject, true) // a later one would lack what it had
		if r.backend.commits.Load() != lastTries {
			t.Error("another one is taken")
		}
		r.Close()
	})
}
