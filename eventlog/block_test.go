package eventlog

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"millrace/event"
)

func testCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

var anyBlock = rapid.Custom(func(t *rapid.T) *Block {
	b := &Block{
		Number: rapid.Uint64Min(1).Draw(t, "number"),
		Kind:   Kind(rapid.IntRange(int(Events), int(Config)).Draw(t, "kind")),
		Time:   event.Time(rapid.Int64().Draw(t, "time")),
		Count:  rapid.IntRange(0, math.MaxInt).Draw(t, "count"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "positions") {
		b.Positions = append(b.Positions, Position{rapid.String().Draw(t, "source"), rapid.Uint64().Draw(t, "next")})
	}
	if rapid.Bool().Draw(t, "has runs") {
		left := b.Count
		for range rapid.IntRange(0, 3).Draw(t, "runs") {
			n := rapid.IntRange(0, left).Draw(t, "run")
			b.Runs = append(b.Runs, Run{rapid.String().Draw(t, "partition"), n})
			left -= n
		}
		b.Runs = append(b.Runs, Run{rapid.String().Draw(t, "partition"), left})
	}
	part := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "part")
	b.Payload = bytes.Repeat(part, rapid.SampledFrom([]int{1, 1, 50}).Draw(t, "repeat"))
	return b
})

func TestStoredFormIsExact(t *testing.T) {
	c := testCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		b := anyBlock.Draw(t, "block")
		v := c.append([]byte("before"), b)[len("before"):]
		var got Block
		if _, err := c.decode(b.Number, v, &got, nil); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b, &got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("-written +read:\n%s", d)
		}
	})
}

func TestLargePayloadsAreCompressedOnlyIfItPays(t *testing.T) {
	c := testCodec(t)
	random := make([]byte, 100_000)
	x := uint64(1)
	for i := range random {
		x = x*6364136223846793005 + 1442695040888963407
		random[i] = byte(x >> 56)
	}
	for _, test := range []struct {
		name     string
		payload  []byte
		min, max int
	}{
		{"repetitive", bytes.Repeat([]byte("rating of an item by a user. "), 4096), 50, 10_000},
		{"small", bytes.Repeat([]byte("a"), compressMinBytes-1), compressMinBytes, compressMinBytes + 40},
		{"random", random, len(random), len(random) + 40},
		{"largest", make([]byte, MaxPayloadBytes), 50, 100_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := Block{Number: 1, Kind: Events, Payload: test.payload}
			v := c.append(nil, &b)
			if len(v) < test.min || len(v) > test.max {
				t.Errorf("%d bytes are stored as %d, want %d to %d", len(test.payload), len(v), test.min, test.max)
			}
			var got Block
			if _, err := c.decode(1, v, &got, nil); err != nil || !bytes.Equal(got.Payload, test.payload) {
				t.Errorf("read back %d bytes, error %v", len(got.Payload), err)
			}
		})
	}
}

func TestEveryFlippedBitIsDetected(t *testing.T) {
	c := testCodec(t)
	for _, payload := range [][]byte{[]byte("a few bytes"), bytes.Repeat([]byte("compressed "), 1000)} {
		b := Block{Number: 7, Kind: Events, Time: 99, Count: 3, Positions: []Position{{"file", 5}}, Runs: []Run{{"a", 2}, {"", 1}}, Payload: payload}
		v := c.append(nil, &b)
		for bit := range len(v) * 8 {
			v[bit/8] ^= 1 << (bit % 8)
			var got Block
			_, err := c.decode(7, v, &got, nil)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Block != 7 || !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of %d flipped: error %v", bit, len(v)*8, err)
			}
			v[bit/8] ^= 1 << (bit % 8)
		}
		for cut := range len(v) {
			if _, err := c.decode(7, v[:cut], &Block{}, nil); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d of %d bytes: error %v", cut, len(v), err)
			}
		}
	}
}

// A value whose checksum is right may still have been written wrongly, or by
// another release.
func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	c := testCodec(t)
	b := Block{Number: 7, Kind: Events, Count: 1, Payload: []byte("payload")}
	body, err := openValue(c.append(nil, &b))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		number uint64
		change func(v []byte) []byte
		ok     bool
	}{
		{"unchanged", 7, func(v []byte) []byte { return v }, true},
		{"another number", 8, func(v []byte) []byte { return v }, false},
		{"version", 7, func(v []byte) []byte { v[0] += 2; return v }, false},
		{"runs that are not there", 7, func(v []byte) []byte { v[0]++; return v }, false},
		{"kind 0", 7, func(v []byte) []byte { v[1] = 0; return v }, false},
		{"kind 5", 7, func(v []byte) []byte { v[1] = 5; return v }, false},
		{"encoding", 7, func(v []byte) []byte { v[2] = 2; return v }, false},
		{"not compressed", 7, func(v []byte) []byte { v[2] = encodingZstd; return v }, false},
		{"shorter", 7, func(v []byte) []byte { return v[:len(v)-1] }, false},
		{"longer", 7, func(v []byte) []byte { return append(v, 0) }, false},
		{"nothing", 7, func(v []byte) []byte { return nil }, false},
	} {
		v := sealValue(test.change(bytes.Clone(body)), 0)
		_, err := c.decode(test.number, v, &Block{}, nil)
		if test.ok != (err == nil) || (err != nil && !errors.Is(err, ErrCorrupt)) {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
}

// FuzzDecode feeds values with a right checksum: nothing may panic or take
// memory beyond what the format allows, and what is read must be what is
// written again.
func FuzzDecode(f *testing.F) {
	c := testCodec(f)
	for _, b := range []Block{
		{Number: 1, Kind: Events},
		{Number: 1, Kind: Catalogue, Time: -1, Count: 9, Payload: []byte("payload"), Positions: []Position{{"a", 1}, {"b", 2}}},
		{Number: 1, Kind: Events, Count: 5, Payload: []byte("payload"), Runs: []Run{{"t/0", 3}, {"", 2}, {"t/1", 0}}},
		{Number: 1, Kind: Config, Payload: bytes.Repeat([]byte("abc"), 3000)},
	} {
		body, _ := openValue(c.append(nil, &b))
		f.Add(bytes.Clone(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var b Block
		if _, err := c.decode(1, sealValue(bytes.Clone(body), 0), &b, nil); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v", err)
			}
			return
		}
		var again Block
		if _, err := c.decode(1, c.append(nil, &b), &again, nil); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b, again, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}
