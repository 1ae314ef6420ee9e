package recommendtest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/operatortest"
)

// Stored is what an operator does with its states' bytes.
type Stored[S any] interface {
	Append(dst []byte, s *S) []byte
	Load(version uint8, src []byte, s *S) error
}

// LoadRefuses checks that an operator says what is wrong with bytes that are no
// state of this version.
func LoadRefuses[S any](t *testing.T, version uint8, o Stored[S]) {
	t.Helper()
	empty := o.Append(nil, new(S))
	for name, c := range map[string]struct {
		version uint8
		in      []byte
		want    error
	}{
		"nothing":         {version, nil, wire.ErrCorrupt},
		"truncated":       {version, empty[:len(empty)-1], wire.ErrCorrupt},
		"bytes left over": {version, append(slices.Clone(empty), 1), wire.ErrCorrupt},
		"later version":   {version + 1, empty, event.ErrVersion},
	} {
		if err := o.Load(c.version, c.in, new(S)); !errors.Is(err, c.want) {
			t.Errorf("state, %s: %v, want %v", name, err, c.want)
		}
	}
}

// DecodeRefuses is LoadRefuses for a view, of which an empty value is given and
// whose bytes begin with their version. wrong are more bytes that are corrupt.
func DecodeRefuses[V operator.Value](t *testing.T, empty V, decode func([]byte) (V, error), wrong ...[]byte) {
	t.Helper()
	b := []byte(Bytes(t, empty))
	wrong = append(wrong, nil, b[:len(b)-1], append(slices.Clone(b), 1))
	for _, in := range wrong {
		if _, err := decode(in); !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("view % x: %v, want %v", in, err, wire.ErrCorrupt)
		}
	}
	b[0]++
	if _, err := decode(b); !errors.Is(err, event.ErrVersion) {
		t.Errorf("view of a later version: %v, want %v", err, event.ErrVersion)
	}
}

// FuzzLoad reads garbage as states: what is accepted is written and read the
// same again.
func FuzzLoad[S any](f *testing.F, version uint8, o Stored[S], examples ...*S) {
	for _, s := range examples {
		f.Add(o.Append(nil, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var s, again S
		if o.Load(version, in, &s) != nil {
			return
		}
		b := o.Append(nil, &s)
		if err := o.Load(version, b, &again); err != nil {
			t.Fatal(err)
		}
		if b2 := o.Append(nil, &again); string(b2) != string(b) {
			t.Errorf("% x\nread and written\n% x", b, b2)
		}
	})
}

// FuzzDecode is FuzzLoad for views.
func FuzzDecode[V operator.Value](f *testing.F, decode func([]byte) (V, error), examples ...V) {
	for _, v := range examples {
		f.Add([]byte(Bytes(f, v)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := decode(in)
		if err != nil {
			return
		}
		b := Bytes(t, v)
		again, err := decode([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		if b2 := Bytes(t, again); b2 != b {
			t.Errorf("% x\nread and written\n% x", b, b2)
		}
	})
}

// Bytes is the byte form of a view's value.
func Bytes(t interface{ Fatal(...any) }, v operator.Value) string {
	b, err := v.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ReadsBack runs events through a stage that is keyed by user, and once more
// with a restart on the way. Both must come to the same states; what a view has
// published once must never change, and must be read back as it was written.
func ReadsBack[V operator.Value](t *rapid.T, build func() *operator.Topology, stage, view string, decode func([]byte) (V, error), events []event.Enriched) {
	cut := rapid.IntRange(0, len(events)).Draw(t, "restored after")
	engine, stored := operatortest.New[event.Enriched](build(), 1, bound, 0), operatortest.New[event.Enriched](build(), 1, bound, 0)
	var published []operator.Value
	var then []string
	for i := range events {
		if i == cut {
			var err error
			if stored, err = stored.Restored(2, 7); err != nil {
				t.Fatal(err)
			}
		}
		engine.Send(events[i].Time, &events[i])
		stored.Send(events[i].Time, &events[i])
		if v, ok := engine.Views()[view][events[i].User]; ok {
			published, then = append(published, v), append(then, Bytes(t, v))
		}
	}
	engine.Drain()
	stored.Drain()
	for user, state := range engine.State()[stage] {
		if other := stored.State()[stage][user]; string(state) != string(other) {
			t.Fatalf("state of %s\n% x\nwith a restore in between\n% x", user, state, other)
		}
	}
	for i, v := range published {
		if Bytes(t, v) != then[i] {
			t.Fatalf("the view published as number %d has changed", i)
		}
		read, err := decode([]byte(then[i]))
		if err != nil || Bytes(t, read) != then[i] {
			t.Fatalf("%v: % x\nread and written\n% x", err, then[i], Bytes(t, read))
		}
		one, _ := json.Marshal(v)
		if other, _ := json.Marshal(read); string(one) != string(other) {
			t.Fatalf("%s\nread\n%s", one, other)
		}
	}
}
