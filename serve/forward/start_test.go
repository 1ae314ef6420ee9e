package forward

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStartedTogether: an engine that does not answer in the first seconds is a
// warning; it is an error, once, when it stays away, or goes away later.
func TestStartedTogether(t *testing.T) {
	away := httptest.NewServer(nil)
	away.Close()
	var text bytes.Buffer
	e, err := New(away.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Close() // it is asked here
	e.log = slog.New(slog.NewTextHandler(&text, nil))
	e.err.Store(nil)
	said := func(warnings, errors int) {
		t.Helper()
		for range 3 {
			e.probe(t.Context())
		}
		if w, n := strings.Count(text.String(), "level=WARN"), strings.Count(text.String(), "level=ERROR"); w != warnings || n != errors {
			t.Errorf("%d warnings and %d errors, want %d and %d:\n%s", w, n, warnings, errors, &text)
		}
	}
	said(1, 0)
	e.began = time.Now().Add(-startTimeout)
	said(1, 1)
	e.err.Store(nil) // it has answered
	said(1, 2)
}
