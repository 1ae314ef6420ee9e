package flink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/event"
	"millrace/operator"
)

// balky is a flink.Views that fails as it is told.
type balky struct {
	mutex sync.Mutex
	fail  func(write int) error // by the number of the write
	n     int
	kept  map[string]operator.Value
}

func (b *balky) Join(context.Context, flink.SessionInfo) (flink.ViewWriter, error) { return b, nil }

func (b *balky) Write(_ context.Context, writes []operator.ViewWrite) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.n++
	if err := b.fail(b.n); err != nil {
		return err
	}
	for _, w := range writes {
		b.kept[w.Key] = w.Value
	}
	return nil
}

func (b *balky) Check(context.Context) error           { return nil }
func (b *balky) Progress(event.Time, event.Time) error { return nil }
func (b *balky) Close()                                {}

// tick is what the test's view holds.
type tick uint64

func (c tick) AppendBinary(dst []byte) ([]byte, error) { return fmt.Appendf(dst, "%d", c), nil }

// counted is a program whose view counts each user's visits.
func counted(views flink.Views) (*flink.Program, error) {
	t, source := operator.NewTopology[visit]()
	operator.Add(source, operator.Stage[string, uint64, visit]{
		Name: "counted", Version: 1, Key: func(v *visit) string { return v.User },
		New: func(p *operator.Ports) operator.Operator[string, uint64, visit] {
			return &counting{operator.View[tick](p, "counts")}
		},
	})
	return &flink.Program{Topology: t, Source: flink.Records[visit](nil), Views: views}, nil
}

type counting struct{ view *operator.ViewPort[tick] }

func (*counting) Fold(c *operator.Context, _ string, n *uint64, v *visit) {
	if v.Name == "panic" {
		panic("as it was told")
	}
	*n++
}
func (*counting) Timer(*operator.Context, string, *uint64, event.Time) {}
func (*counting) Append(dst []byte, n *uint64) []byte                  { return append(dst, byte(*n)) }
func (*counting) Load(_ uint8, b []byte, n *uint64) error              { *n = uint64(b[0]); return nil }
func (c *counting) Answer(user string, n *uint64)                      { c.view.Put(user, tick(*n)) }

func runCounted(t *testing.T, views flink.Views, limit int64, from flinktest.Snapshot) *flinktest.Cluster {
	t.Helper()
	p, err := counted(views)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := flink.NewPlan("counted", p, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := flink.NewWorker(flink.Options{Build: func([]byte) (*flink.Program, error) { return counted(views) }, MemoryLimit: limit})
	c, err := flinktest.New(flinktest.Options{Plan: plan, Dial: flinktest.Local(w), Subtasks: 2, Partitions: 1}, from)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func visitBy(c *flinktest.Cluster, user, name string) error {
	return c.Send(0, operator.Meta{Time: 1}, true, (&visit{user, name}).AppendRecord(nil))
}

// Answers are acknowledged before a snapshot; a store that comes back gets them,
// and after a restore it gets those of all keys, whatever the bound of memory.
func TestAnswersAreKept(t *testing.T) {
	for _, limit := range []int64{0, 1} {
		b := &balky{kept: map[string]operator.Value{}, fail: func(n int) error {
			if n%3 == 1 {
				return errors.New("away for a moment")
			}
			return nil
		}}
		c := runCounted(t, b, limit, nil)
		for n := range 10 {
			for user := range n {
				if err := visitBy(c, fmt.Sprint(user), ""); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := errors.Join(c.Checkpoint(), c.Drain()); err != nil {
			t.Fatal(err)
		}
		expect := func() {
			t.Helper()
			for user := range 9 {
				if got, want := b.kept[fmt.Sprint(user)], tick(9-user); got != operator.Value(want) {
					t.Errorf("limit %d: user %d: %v, want %v", limit, user, got, want)
				}
			}
		}
		expect()
		clear(b.kept)
		from, _ := c.Completed()
		c = runCounted(t, b, limit, from)
		if err := errors.Join(c.Checkpoint(), c.Drain()); err != nil {
			t.Fatal(err)
		}
		expect()
	}
}

// A store that has lost answers ends the session, so that the job is restored.
func TestLostAnswersEndTheSession(t *testing.T) {
	b := &balky{kept: map[string]operator.Value{}, fail: func(int) error { return fmt.Errorf("%w: it was emptied", flink.ErrLost) }}
	c := runCounted(t, b, 0, nil)
	err := errors.Join(visitBy(c, "ann", ""), c.Checkpoint(), c.Drain())
	if !errors.Is(err, flinktest.ErrWorker) || !strings.Contains(err.Error(), "lost answers: it was emptied") {
		t.Errorf("got %v", err)
	}
}

// An operator that panics ends the session with the stage and the key.
func TestPanicsSayWhere(t *testing.T) {
	c := runCounted(t, nil, 0, nil)
	err := errors.Join(visitBy(c, "ann", ""), visitBy(c, "bob", "panic"), c.Drain())
	if !errors.Is(err, flinktest.ErrWorker) || !strings.Contains(err.Error(), `stage counted, key "bob": as it was told`) {
		t.Errorf("got %v", err)
	}
}
