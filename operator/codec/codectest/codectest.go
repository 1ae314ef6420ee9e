// Package codectest tests codecs.
package codectest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"millrace/event/wire"
	"millrace/operator/codec"
)

// RoundTrip demands that values of any kind are read as they were written, but
// that an empty list may be none; that equal values have equal bytes; and that a
// part of the bytes is wire.ErrCorrupt.
func RoundTrip[T any](t *testing.T, c *codec.Codec[T]) {
	t.Helper()
	gen := rapid.Make[T]()
	rapid.Check(t, func(t *rapid.T) {
		v := gen.Draw(t, "value")
		b := c.Append(nil, &v)
		var again T
		r := wire.NewReader(b)
		if c.Load(r, &again); r.End() != nil {
			t.Fatal(r.Err())
		}
		if diff := cmp.Diff(v, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if !bytes.Equal(c.Append(nil, &again), b) {
			t.Fatalf("other bytes for %+v", again)
		}
		part := b[:rapid.IntRange(0, max(0, len(b)-1)).Draw(t, "cut")]
		r = wire.NewReader(part)
		var less T
		if c.Load(r, &less); len(part) < len(b) && !errors.Is(r.End(), wire.ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: %v, want ErrCorrupt", len(part), len(b), r.Err())
		}
	})
}
