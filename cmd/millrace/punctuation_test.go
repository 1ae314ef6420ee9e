package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"millrace/serve/api"
)

// With punctuation marks only events of one type move the watermark, also after
// a restart, for good.
func TestPunctuation(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	cfg, err := loadConfig(fileOf(t, "millrace.yaml", "watermark: punctuated\npunctuation: mark\nevent_types: {view: 0.1, mark: 0}\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data, cfg.Listen = data, "127.0.0.1:0"
	s := started(t, cfg)
	post := func(kind string, minute int, want string) {
		t.Helper()
		body := fmt.Sprintf(`{"user_id": "ann", "item_id": "i%d", "event_type": "%s", "timestamp": "2024-03-01T10:%02d:00Z"}`, minute, kind, minute)
		if code, answer := ask(t, http.MethodPost, s.url+"/v1/events?wait=applied", body); code != http.StatusOK {
			t.Fatalf("%d %.300s", code, answer)
		}
		got := "none"
		if w := get[api.Stats](t, s.url+"/v1/stats").Watermark.Watermark; w != nil {
			got = *w
		}
		if got != want {
			t.Errorf("after a %s of 10:%02d: watermark %s, want %s", kind, minute, got, want)
		}
	}
	post("view", 30, "none")
	post("mark", 10, "2024-03-01T10:09:59.999Z")
	post("view", 59, "2024-03-01T10:09:59.999Z")
	s.stop()
	s = started(t, cfg)
	post("view", 45, "2024-03-01T10:09:59.999Z")
	post("mark", 40, "2024-03-01T10:39:59.999Z")
	post("mark", 20, "2024-03-01T10:39:59.999Z")
	s.stop()
	verified(t, data, 6)
}

func TestPunctuationHasAType(t *testing.T) {
	for content, want := range map[string]string{
		"watermark: punctuated\n":                       "punctuation: want the type of the events that are marks",
		"punctuation: view\n":                           "punctuation: only with watermark punctuated, and that is bounded",
		"watermark: punctuated\npunctuation: nothing\n": `punctuation: want one of cart, click, dislike, impression, like, purchase, rating, view, got "nothing"`,
		"watermark: none\n":                             "watermark: want bounded, dynamic or punctuated",
	} {
		_, err := says(t, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--config", fileOf(t, "millrace.yaml", content))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
}
