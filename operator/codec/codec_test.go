package codec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator/codec"
)

type inner struct {
	At   event.Time
	Note *string
}

type outer struct {
	ID    string
	Count uint32
	Share float64
	Open  bool
	Raw   []byte
	List  []inner
	Sizes map[string]int64
}

var inners = codec.Struct(
	codec.Field(func(v *inner) *event.Time { return &v.At }, codec.Time()),
	codec.Field(func(v *inner) **string { return &v.Note }, codec.Optional(codec.String[string]())),
)

var outers = codec.Struct(
	codec.Field(func(v *outer) *string { return &v.ID }, codec.String[string]()),
	codec.Field(func(v *outer) *uint32 { return &v.Count }, codec.Uint64[uint32]()),
	codec.Field(func(v *outer) *float64 { return &v.Share }, codec.Float64[float64]()),
	codec.Field(func(v *outer) *bool { return &v.Open }, codec.Bool[bool]()),
	codec.Field(func(v *outer) *[]byte { return &v.Raw }, codec.Bytes[[]byte]()),
	codec.Field(func(v *outer) *[]inner { return &v.List }, codec.List(inners)),
	codec.Field(func(v *outer) *map[string]int64 { return &v.Sizes }, codec.Map(codec.String[string](), codec.Int64[int64]())),
)

func load[T any](c codec.Codec[T], b []byte) (v T, err error) {
	r := wire.NewReader(b)
	c.Load(r, &v)
	return v, r.End()
}

// The bytes are in checkpoints: they never change.
func TestBytesAreStable(t *testing.T) {
	note := "hi"
	v := outer{
		ID: "ann", Count: 300, Share: 0.5, Open: true, Raw: []byte{1, 2}, List: []inner{{At: -1}, {At: 70, Note: &note}},
		Sizes: map[string]int64{"b": 2, "a": 1},
	}
	const want = "03616e6e" + "ac02" + "000000000000e03f" + "01" + "020102" + "02" + "0100" + "8c01" + "01026869" + "02" + "016102" + "016204"
	got := outers.Append(nil, &v)
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	again, err := load(outers, got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, again); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	gen := rapid.Make[outer]()
	rapid.Check(t, func(t *rapid.T) {
		v := gen.Draw(t, "value")
		b := outers.Append(nil, &v)
		again, err := load(outers, b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(outers.Append(nil, &again), b) {
			t.Fatalf("other bytes for %+v", again)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := load(outers, b[:cut]); !errors.Is(err, wire.ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: %v, want ErrCorrupt", cut, len(b), err)
		}
	})
}

// A later form reads what an earlier one wrote, and an earlier one refuses
// what a later one wrote.
func TestVersions(t *testing.T) {
	first := codec.Int64[int64]()
	second := codec.Codec[int64]{ // in thousandths
		Append: func(dst []byte, v *int64) []byte { return wire.AppendVarint(dst, *v*1000) },
		Load:   func(r *wire.Reader, v *int64) { *v = r.Varint() / 1000 },
	}
	old, now := codec.Versioned(first), codec.Versioned(first, second)
	v := int64(7)
	if got, err := load(now, old.Append(nil, &v)); got != 7 || err != nil {
		t.Errorf("an old value: %d, %v", got, err)
	}
	if got, err := load(now, now.Append(nil, &v)); got != 7 || err != nil {
		t.Errorf("a new value: %d, %v", got, err)
	}
	if _, err := load(old, now.Append(nil, &v)); !errors.Is(err, codec.ErrNewer) {
		t.Errorf("a new value in an old release: %v, want ErrNewer", err)
	}
	if _, err := load(now, []byte{0, 1}); !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("version 0: %v, want ErrCorrupt", err)
	}
}
