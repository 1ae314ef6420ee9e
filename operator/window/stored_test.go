package window_test

import (
	"errors"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/window"
)

// kinds are one stage of each stored form.
var kinds = map[string]kind{
	"tumbling": {windows: window.Tumbling(10), lateness: 100},
	"sliding":  {windows: window.Sliding(10, 4), lateness: 100},
	"shared":   {windows: window.Tumbling(10), more: []window.Assigner{window.Tumbling(20), window.Sliding(10, 5)}, lateness: 100},
	"session":  {windows: window.Session(10), lateness: 100, trigger: window.Trigger{Count: 9}},
	"count":    {windows: window.Count(6, 4)},
	"global":   {windows: window.Global(), trigger: window.Trigger{Count: 9}},
}

// raw is the operator of a stage of a kind.
func raw(t testing.TB, k kind) (operator.Raw, *operator.Node) {
	topology, source := operator.NewTopology[visit]()
	collected(source, k, "windows", false)
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	n := topology.Nodes()[0]
	return n.NewRaw(operator.RawEnv{}), n
}

// Equal state has equal bytes, however it came to be: out of order, in order,
// or read back; and what is read back is written as it was.
func TestEqualStateHasEqualBytes(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			var last []byte
			for _, times := range [][]event.Time{{1, 12, 40, 3, 13}, {12, 1, 40, 13, 3}, {40, 13, 12, 3, 1}} {
				if name == "count" || name == "global" || name == "session" {
					// The order of inputs is part of their state; of sessions, the timer
					// that is put right when it comes up.
					times = []event.Time{1, 12, 40, 3, 13}
				}
				h := harness.Stage(t, harness.Options{}, func(source stream) { summed(source, k, "windows", false) })
				for _, at := range times {
					h.Send(at, visit{Who: 1, Value: int64(at)})
				}
				h.Watermark(20)
				stored := h.State("windows")["\x00\x00\x00\x00\x00\x00\x00\x01"]
				if last != nil && string(stored) != string(last) {
					t.Errorf("times %v: %x, before %x", times, stored, last)
				}
				last = stored
				h.Restore(h.Snapshot(), 2)
				if again := h.State("windows")["\x00\x00\x00\x00\x00\x00\x00\x01"]; string(again) != string(stored) {
					t.Errorf("read back: %x, stored %x", again, stored)
				}
			}
		})
	}
}

// State of other windows is refused, rather than counted for the wrong ones.
func TestStateOfOtherWindowsIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		of, by kind
		at     []event.Time
	}{
		"larger tumbling windows": {kinds["tumbling"], kind{windows: window.Tumbling(20)}, []event.Time{15}},
		"windows of finer panes":  {kinds["tumbling"], kinds["shared"], []event.Time{10}},
		"another slide":           {kinds["sliding"], kind{windows: window.Sliding(10, 5)}, []event.Time{15}},
		"other count windows":     {kinds["count"], kind{windows: window.Count(2, 1)}, []event.Time{1, 2, 3}},
		"count for global":        {kinds["count"], kinds["global"], []event.Time{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			h := harness.Stage(t, harness.Options{}, func(source stream) { collected(source, c.of, "windows", false) })
			for _, at := range c.at {
				h.Send(at, visit{Who: 1})
			}
			_, state, err := operator.SplitState(h.State("windows")["user-1"])
			if err != nil {
				t.Fatal(err)
			}
			r, _ := raw(t, c.by)
			if err := r.Load(1, state, r.NewState()); !errors.Is(err, wire.ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
		})
	}
}

// FuzzLoad reads what is no state, and goes on with what seems to be one.
func FuzzLoad(f *testing.F) {
	for name, k := range kinds {
		h := harness.Stage(f, harness.Options{}, func(source stream) { collected(source, k, "windows", false) })
		for _, at := range []event.Time{1, 12, 40, 3, 13} {
			h.Send(at, visit{Who: 1, Value: int64(at)})
		}
		h.Watermark(20)
		_, state, err := operator.SplitState(h.State("windows")["user-1"])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, state)
		f.Add(name, state[:len(state)/2])
	}
	f.Fuzz(func(t *testing.T, name string, state []byte) {
		k, ok := kinds[name]
		if !ok {
			return
		}
		r, n := raw(t, k)
		s := r.NewState()
		if r.Load(n.Version, state, s) != nil {
			return
		}
		again := r.NewState()
		stored := r.Append(nil, s)
		if err := r.Load(n.Version, stored, again); err != nil {
			t.Fatalf("%x: what was read is written so that it can not be read: %v", state, err)
		}
		if twice := r.Append(nil, again); string(twice) != string(stored) {
			t.Fatalf("%x: written as %x, then as %x", state, stored, twice)
		}
		r.Context().Begin(operator.Meta{Time: 25, Watermark: 20})
		r.Fold("user-1", s, &visit{Who: 1})
		r.Context().Begin(operator.Meta{Time: 29, Watermark: 28})
		r.Timer("user-1", s, 29)
	})
}
