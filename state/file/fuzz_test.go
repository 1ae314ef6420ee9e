package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"millrace/operator"
	"millrace/state"
)

// seal appends frames with these payloads to the beginning of a file, with
// their lengths and checksums.
func seal(data []byte, payloads [][]byte) []byte {
	data = bytes.Clone(data)
	sum := crc32.Checksum(data, castagnoli)
	for _, payload := range payloads {
		length := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
		sum = crc32.Update(crc32.Update(sum, castagnoli, length), castagnoli, payload)
		data = binary.LittleEndian.AppendUint32(append(data, length...), sum)
		data = append(data, payload...)
	}
	return data
}

// recorder writes down what a file does, in another file.
type recorder struct{ w *writer }

func (r recorder) write(stage string, writes []operator.StateWrite) error {
	for _, w := range writes {
		if err := r.w.write(stage, w.Key, w.Value); err != nil {
			return err
		}
	}
	return nil
}

func (r recorder) drop(stage string) error { return r.w.drop(stage) }

// rewrite reads a file and writes what it says.
func rewrite(data []byte) ([]byte, error) {
	var out bytes.Buffer
	r := &reader{name: "chk", from: bytes.NewReader(data), size: int64(len(data))}
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	w := &writer{to: &out}
	if err := w.begin(h); err != nil {
		return nil, err
	}
	if err := r.contents(recorder{w}); err != nil {
		return nil, err
	}
	err = w.end()
	return out.Bytes(), err
}

// example is a file with a bit of everything.
func example(t testing.TB) []byte {
	var out bytes.Buffer
	w := &writer{to: &out}
	err := errors.Join(
		w.begin(&header{at: point{seq: 7, block: 9, time: -5}, parent: point{seq: 6, block: 9}, meta: []byte("meta")}),
		w.write("s", []byte("a"), []byte("1")),
		w.write("s", nil, []byte{}),
		w.write("t", []byte("b"), nil),
		w.drop("u"),
		w.write("t", []byte(strings.Repeat("k", 200)), bytes.Repeat([]byte("v"), 300)),
		w.write("t", []byte("c"), []byte("2")),
		w.end())
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func checkRewrite(t *testing.T, data []byte) {
	again, err := rewrite(data)
	if err != nil {
		if !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, state.ErrNewer) {
			t.Errorf("%v is neither ErrCorrupt nor ErrNewer", err)
		}
		return
	}
	third, err := rewrite(again)
	if err != nil || !bytes.Equal(again, third) {
		t.Errorf("what was read and written cannot be read: %v", err)
	}
}

// FuzzFile reads any bytes as a file.
func FuzzFile(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(magic))
	f.Add(example(f))
	f.Fuzz(checkRewrite)
}

// FuzzFrames reads frames with any payloads and right checksums: the bytes are
// taken apart at every 0xff.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x00\x01\x00\x00\x00\x00\x00\x00\xff\x02\x01s\x01\x01a\x011\x00\x01b\xff\x04\x02"))
	f.Add([]byte("\x01\x01\x01\x00\x00\x00\x00\x00\x00\xff\x03\x01s\xff\x04\x01"))
	f.Add([]byte("\x01\x01\x01\x00\x00\x00\x00\x00\x00\xff\x02\x01s\x01\x05a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRewrite(t, seal(append([]byte(magic), formatVersion), bytes.Split(data, []byte{0xff})))
	})
}

// TestFrames: every single byte of a file is covered by a checksum, and so is
// its length. What is whole reads as what was written.
func TestFrames(t *testing.T) {
	whole := example(t)
	again, err := rewrite(whole)
	if err != nil || !bytes.Equal(again, whole) {
		t.Fatalf("read and written again: %v", err)
	}
	for at := range whole {
		data := bytes.Clone(whole)
		data[at] ^= 0x10
		if _, err := rewrite(data); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("changed at %d: %v", at, err)
		}
		if _, err := rewrite(whole[:at]); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("shortened to %d: %v", at, err)
		}
	}
	if _, err := rewrite(append(bytes.Clone(whole), 0)); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("a byte more: %v", err)
	}
	// Two frames that change places are each whole.
	h := (&header{at: point{seq: 1}}).append([]byte{frameHeader})
	begin := append([]byte(magic), formatVersion)
	a, b, end := []byte("\x02\x01s\x01\x01a\x011"), []byte("\x02\x01s\x01\x01a\x012"), []byte("\x04\x02")
	right := seal(begin, [][]byte{h, a, b, end})
	if _, err := rewrite(right); err != nil {
		t.Fatalf("frames in order: %v", err)
	}
	first := len(begin) + frameHead + len(h)
	second := first + frameHead + len(a)
	third := second + frameHead + len(b)
	swapped := bytes.Join([][]byte{right[:first], right[second:third], right[first:second], right[third:]}, nil)
	if _, err := rewrite(swapped); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("frames have changed places: %v", err)
	}
}
