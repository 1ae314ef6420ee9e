package redis

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"millrace/view"
	"millrace/view/viewtest"
)

// TestSlot has the examples of the specification, and what the braces do.
func TestSlot(t *testing.T) {
	for key, want := range map[string]uint16{
		"123456789": 0x31C3, "": 0, "foo": 12182, "{foo}": 12182, "a{foo}b": 12182, "a{foo}b{bar}": 12182, "foo{}": 5542, "foo{}{bar}": 8363,
	} {
		if got := slot(key); got != want {
			t.Errorf("slot of %q is %d, want %d", key, got, want)
		}
	}
}

// TestKeysOfAUser: whatever a user is called, all that is known of them is in
// one slot, and nobody else's keys are the same.
func TestKeysOfAUser(t *testing.T) {
	c := &Client{prefix: "p"}
	rapid.Check(t, func(rt *rapid.T) {
		ids := rapid.OneOf(rapid.String(), rapid.StringMatching(`[{}%a2057bd]{0,6}`))
		a, b := ids.Draw(rt, "a"), ids.Draw(rt, "b")
		one, two := c.viewKey("activity", a), c.viewKey("profile", a)
		if slot(one) != slot(two) {
			rt.Errorf("%q and %q are in slots %d and %d", one, two, slot(one), slot(two))
		}
		if (c.viewKey("activity", b) == one) != (a == b) {
			rt.Errorf("%q and %q have the keys %q and %q", a, b, one, c.viewKey("activity", b))
		}
		start := len("p:v:activity:{")
		if got := unescape(one[start : len(one)-1]); got != a {
			rt.Errorf("%q is read back as %q", a, got)
		}
	})
}

// TestMarks: there is a mark in every stretch of the slots.
func TestMarks(t *testing.T) {
	seen := map[int]bool{}
	for _, key := range (&Client{prefix: "p"}).markKeys() {
		seen[int(slot(key))*marks/slots] = true
	}
	if len(seen) != marks {
		t.Errorf("%d stretches of %d have a mark", len(seen), marks)
	}
}

func TestValue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		order := Order{rapid.Uint64().Draw(rt, "epoch"), rapid.Uint64().Draw(rt, "sequence")}
		want := viewtest.Number(rapid.Uint64().Draw(rt, "value"))
		b, err := appendValue(nil, order, want)
		if err != nil {
			rt.Fatal(err)
		}
		if got, at, err := decodeValue(viewtest.Decode, b); err != nil || got != want || at != order {
			rt.Errorf("%v of %v is read back as %v of %v, %v", want, order, got, at, err)
		}
		b, _ = appendValue(nil, order, nil)
		if got, at, err := decodeValue(viewtest.Decode, b); err != nil || got != nil || at != order {
			rt.Errorf("a tombstone of %v is read back as %v of %v, %v", order, got, at, err)
		}
	})
}

// FuzzDecodeValue: nothing that is in Redis makes a reader fail otherwise than
// with an ErrCorrupt.
func FuzzDecodeValue(f *testing.F) {
	good, _ := appendValue(nil, Order{1, 2}, viewtest.Number(3))
	f.Add(good)
	f.Add([]byte("not a value"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decode := range []view.Decoder{viewtest.Decode, nil} {
			v, _, err := decodeValue(decode, b)
			if err != nil && (!errors.Is(err, ErrCorrupt) || v != nil) {
				t.Errorf("%v with %v", err, v)
			}
		}
	})
}
