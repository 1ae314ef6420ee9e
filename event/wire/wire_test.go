package wire

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What is appended is what is read, field by field, to the last byte.
func TestReadsWhatWasAppended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint64().Draw(t, "uvarint")
		v := rapid.Int64().Draw(t, "varint")
		f := math.Float64frombits(rapid.Uint64().Draw(t, "float bits"))
		s := rapid.String().Draw(t, "string")
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		list := rapid.SliceOf(rapid.String()).Draw(t, "strings")
		yes := rapid.Bool().Draw(t, "bool")

		var enc []byte
		enc = AppendUvarint(enc, u)
		enc = AppendVarint(enc, v)
		enc = AppendFloat64(enc, f)
		enc = AppendUint64(enc, u)
		enc = AppendString(enc, s)
		enc = AppendBytes(enc, b)
		enc = AppendStrings(enc, list)
		enc = AppendBool(enc, yes)
		enc = append(enc, 7)

		r := NewReader(enc)
		if got := r.Uvarint(); got != u {
			t.Fatalf("uvarint %d, want %d", got, u)
		}
		if got := r.Varint(); got != v {
			t.Fatalf("varint %d, want %d", got, v)
		}
		if got := r.Float64(); math.Float64bits(got) != math.Float64bits(f) {
			t.Fatalf("float %v, want %v", got, f)
		}
		if got := r.Uint64(); got != u {
			t.Fatalf("uint64 %d, want %d", got, u)
		}
		if got := r.String(); got != s {
			t.Fatalf("string %q, want %q", got, s)
		}
		if got := r.Bytes(); !bytes.Equal(got, b) {
			t.Fatalf("bytes %q, want %q", got, b)
		}
		if got := r.Strings(); !slices.Equal(got, list) {
			t.Fatalf("strings %q, want %q", got, list)
		}
		if got := r.Bool(); got != yes {
			t.Fatalf("bool %v, want %v", got, yes)
		}
		if got := r.Byte(); got != 7 || r.Len() != 0 || r.Err() != nil {
			t.Fatalf("last byte %d, %d bytes left, error %v", got, r.Len(), r.Err())
		}
	})
}

func TestReaderRemembersItsFirstError(t *testing.T) {
	r := NewReader([]byte{200}) // a varint that never ends
	if r.Uvarint() != 0 || !errors.Is(r.Err(), ErrCorrupt) {
		t.Fatalf("error %v, want ErrCorrupt", r.Err())
	}
	other := errors.New("other")
	r.Fail(other)
	if !errors.Is(r.Err(), ErrCorrupt) {
		t.Fatalf("error %v, want the first one", r.Err())
	}
	r = NewReader([]byte{1, 2, 3})
	r.Fail(other)
	if r.Byte() != 0 || !errors.Is(r.Err(), other) || r.Len() != 0 {
		t.Fatalf("error %v with %d bytes left, want the given error and none", r.Err(), r.Len())
	}
}

func TestLengthsBeyondTheInputAreCorrupt(t *testing.T) {
	huge := AppendUvarint(nil, math.MaxUint64)
	for name, read := range map[string]func(*Reader){
		"Count":   func(r *Reader) { r.Count() },
		"Bytes":   func(r *Reader) { r.Bytes() },
		"String":  func(r *Reader) { _ = r.String() },
		"Strings": func(r *Reader) { r.Strings() },
	} {
		r := NewReader(huge)
		if read(r); !errors.Is(r.Err(), ErrCorrupt) {
			t.Errorf("%s: error %v, want ErrCorrupt", name, r.Err())
		}
	}
	r := NewReader([]byte{2})
	if r.Bool(); !errors.Is(r.Err(), ErrCorrupt) {
		t.Errorf("Bool of 2: error %v, want ErrCorrupt", r.Err())
	}
}

// A decoder that has read all that it knows of accepts no bytes after it.
func TestEnd(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"all read":   {[]byte{1}, nil},
		"bytes left": {[]byte{1, 2}, ErrCorrupt},
		"truncated":  {nil, ErrCorrupt},
	} {
		r := NewReader(c.in)
		r.Byte()
		if err := r.End(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
