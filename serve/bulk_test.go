package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/serve/api"
	"millrace/serve/servetest"
)

// bulk is the body of so many events, the last two of which are repeats.
func bulk(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"user_id":1,"item_id":%d,"event_id":%d,"timestamp":1700000000}`+"\n", i, min(i, n-3))
	}
	return b.String()
}

// A request of many events becomes several batches, in order; when there is no
// room for the later ones they are tried again.
func TestManyEvents(t *testing.T) {
	w := servetest.New()
	w.Full = func(try int) bool { return try == 2 || try == 3 } // the second batch, twice
	s := running(t, Options{Parts: w.Parts()})
	url := "http://" + s.Addr()
	const events = 2*16_384 + 10
	answer, err := http.Post(url+"/v1/events?source=file&position=77", "application/x-ndjson", strings.NewReader(bulk(events)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got api.EventsAnswer
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || got.Accepted != events-2 || got.Duplicates != 2 {
		t.Errorf("status %d, answer %+v, error %v; want %d accepted and 2 duplicates", answer.StatusCode, got, err, events-2)
	}
	stored := w.Events()
	if len(stored) != events {
		t.Fatalf("%d events are stored, want %d", len(stored), events)
	}
	for i := range stored {
		if stored[i].Item != strconv.Itoa(i) {
			t.Fatalf("event %d is of item %s: the order is lost", i, stored[i].Item)
		}
	}
	if next, known := w.Parts().Engine.Position("file"); next != 77 || !known {
		t.Errorf("position %d, known %v, want 77", next, known)
	}
	if blocks := w.Parts().Engine.Stats().Block; blocks != 3 {
		t.Errorf("%d blocks, want 3", blocks)
	}
}

// If there is no room for the first batch, nothing is taken; if there never is
// any for a later one, the client is told in time.
func TestManyEventsWithoutRoom(t *testing.T) {
	w := servetest.New()
	w.Full = func(int) bool { return true }
	parts := w.Parts()
	parts.MaxWait = 20 * time.Millisecond
	s := running(t, Options{Parts: parts})
	r, err := http.Post("http://"+s.Addr()+"/v1/events", "application/x-ndjson", strings.NewReader(bulk(20_000)))
	expectProblem(t, r, err, http.StatusTooManyRequests, "too much is waiting")
	if n := len(w.Events()); n != 0 {
		t.Errorf("%d events were stored", n)
	}
	w = servetest.New()
	w.Full = func(try int) bool { return try > 1 }
	parts = w.Parts()
	parts.MaxWait = 20 * time.Millisecond
	s = running(t, Options{Parts: parts})
	r, err = http.Post("http://"+s.Addr()+"/v1/events", "application/x-ndjson", strings.NewReader(bulk(20_000)))
	expectProblem(t, r, err, http.StatusServiceUnavailable, "a part of them")
}
