package intake

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

const limit = 1 << 20

func request(body io.Reader, encoding string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = -1
	r.Header.Set("Content-Encoding", encoding)
	return r
}

func gzipped(t interface{ Fatal(...any) }, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A body is read as it was sent, in whatever pieces it comes, or not at all;
// and when it is released, all memory is back.
func TestBodiesAreReadWhole(t *testing.T) {
	in := New(limit, 4*limit)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 10_000), rapid.IntRange(limit-2, limit+2),
			rapid.SampledFrom([]int{4 << 10, 16 << 10, 64 << 10, 256 << 10})).Draw(t, "size")
		want := bytes.Repeat([]byte{'a', 'b', 'c'}, size/3+1)[:size]
		body, encoding := io.Reader(bytes.NewReader(want)), ""
		if rapid.Bool().Draw(t, "gzip") {
			body, encoding = bytes.NewReader(gzipped(t, want)), "gzip"
		}
		switch rapid.IntRange(0, 3).Draw(t, "pieces") {
		case 1:
			body = iotest.HalfReader(body)
		case 2:
			body = iotest.DataErrReader(body)
		}
		b, err := in.Read(request(body, encoding))
		switch {
		case size > limit:
			if !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%d bytes: %v, want ErrTooLarge", size, err)
			}
			return
		case err != nil:
			t.Fatalf("%d bytes: %v", size, err)
		case !bytes.Equal(b.Bytes, want):
			t.Fatalf("%d bytes were read as %d others", size, len(b.Bytes))
		}
		b.Release()
		b.Release()
		if in.InFlight() != 0 {
			t.Fatalf("%d bytes are still in use", in.InFlight())
		}
	})
}

func TestErrors(t *testing.T) {
	zip := gzipped(t, []byte("some text"))
	damaged := bytes.Clone(zip)
	damaged[len(damaged)-8] ^= 1 // the checksum
	empty := bytes.Repeat(gzipped(t, nil), limit/10)
	for _, c := range []struct {
		name, encoding string
		body           io.Reader
		want           error
	}{
		{"a client that goes away", "", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)), ErrBroken},
		{"a client that is slow", "", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(os.ErrDeadlineExceeded)), ErrSlow},
		{"a slow gzip", "gzip", iotest.ErrReader(os.ErrDeadlineExceeded), ErrSlow},
		{"no gzip", "gzip", strings.NewReader("some text that is longer than a header"), ErrBroken},
		{"empty gzip", "gzip", strings.NewReader(""), ErrBroken},
		{"cut gzip", "gzip", bytes.NewReader(zip[:len(zip)-1]), ErrBroken},
		{"damaged gzip", "gzip", bytes.NewReader(damaged), ErrBroken},
		{"endless empty gzip", "gzip", bytes.NewReader(empty), ErrTooLarge},
		{"bomb", "gzip", bytes.NewReader(gzipped(t, make([]byte, 50*limit))), ErrTooLarge},
		{"unknown", "br", strings.NewReader("x"), ErrEncoding},
		{"twice", "gzip, gzip", strings.NewReader("x"), ErrEncoding},
	} {
		in := New(limit, 4*limit)
		if b, err := in.Read(request(c.body, c.encoding)); !errors.Is(err, c.want) || b != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if in.InFlight() != 0 {
			t.Errorf("%s: %d bytes are still in use", c.name, in.InFlight())
		}
	}
}

// A length that is announced is believed only to refuse it.
func TestAnnouncedLength(t *testing.T) {
	in := New(limit, 4*limit)
	r := request(strings.NewReader("x"), "")
	r.ContentLength = limit
	b, err := in.Read(r)
	if err != nil {
		t.Fatal(err)
	}
	if in.InFlight() > smallest {
		t.Errorf("a byte takes %d bytes because more were announced", in.InFlight())
	}
	b.Release()
	untouched := iotest.ErrReader(errors.New("was read"))
	r = request(untouched, "")
	r.ContentLength = limit + 1
	if _, err := in.Read(r); !errors.Is(err, ErrTooLarge) {
		t.Errorf("announced too long: %v", err)
	}
}

func TestBudget(t *testing.T) {
	in := New(limit, smallest)
	first, err := in.Read(request(strings.NewReader("x"), ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(request(strings.NewReader("x"), "")); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond the budget: %v, want ErrBusy", err)
	}
	first.Release()
	second, err := in.Read(request(strings.NewReader("y"), ""))
	if err != nil || string(second.Bytes) != "y" {
		t.Errorf("with room again: %v", err)
	}
	if _, err := in.Read(httptest.NewRequest(http.MethodPost, "/", http.NoBody)); err != nil {
		t.Errorf("no body needs room: %v", err)
	}
}

func TestDrain(t *testing.T) {
	body := strings.NewReader("left over")
	r := httptest.NewRequest(http.MethodPost, "/", body)
	tracked, _ := Track(r)
	tracked.Drain(httptest.NewRecorder())
	if body.Len() != 0 {
		t.Errorf("%d bytes are left", body.Len())
	}
	body = strings.NewReader("not asked for")
	r = httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Expect", "100-continue")
	tracked, r = Track(r)
	if tracked.Drain(httptest.NewRecorder()); body.Len() == 0 {
		t.Error("a client that waits to be asked was asked")
	}
	if _, err := r.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if tracked.Drain(httptest.NewRecorder()); body.Len() != 0 {
		t.Error("a client that was asked was not drained")
	}
	if tracked, _ := Track(httptest.NewRequest(http.MethodGet, "/", http.NoBody)); tracked != nil {
		t.Error("no body is tracked")
	}
	body = strings.NewReader("too much")
	r = httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = MaxDrain + 1
	tracked, _ = Track(r)
	answer := httptest.NewRecorder()
	if tracked.Drain(answer); body.Len() == 0 || answer.Header().Get("Connection") != "close" {
		t.Error("more than is drained was waited for")
	}
}
