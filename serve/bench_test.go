package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/event"
	"millrace/serve/servetest"
)

// discard is the writer of an answer that nobody reads.
type discard struct {
	header http.Header
	bytes  int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += len(b)
	return len(b), nil
}

func benchmarkServer(b *testing.B) (*servetest.World, http.Handler) {
	w := servetest.New()
	for i := range 200 {
		w.Put(&event.Item{ID: fmt.Sprint(i), Title: fmt.Sprintf("Movie %d (1995)", i), Categories: []string{"Drama"}, Created: event.Time(i + 1)})
	}
	s, err := New(Options{Parts: w.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	return w, s.Handler()
}

// What the server costs around the ranking of 20 items, without the
// connection: to be far below 150 us.
func BenchmarkRecommendations(b *testing.B) {
	_, h := benchmarkServer(b)
	r := httptest.NewRequest(http.MethodGet, "http://localhost/v1/users/42/recommendations?n=20&exclude=none", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&discard{header: http.Header{}}, r)
	}
}

// What a batch of 1,000 events costs from the body to the log's queue, an
// event.
func BenchmarkEvents(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, h := benchmarkServer(b)
			w.Forgetful = true
			var body bytes.Buffer
			for i := range size {
				fmt.Fprintf(&body, `{"user_id":"user%d","item_id":"%d","event_type":"view","timestamp":%d,"session_id":"s%d"}`+"\n",
					i%100, i%200, 1700000000000+i, i)
			}
			text := body.String()
			r := httptest.NewRequest(http.MethodPost, "http://localhost/v1/events", nil)
			b.ReportAllocs()
			for b.Loop() {
				r.Body = http.NoBody
				request := r.WithContext(r.Context())
				request.Body, request.ContentLength = readCloser{strings.NewReader(text)}, int64(len(text))
				d := &discard{header: http.Header{}}
				h.ServeHTTP(d, request)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
		})
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
