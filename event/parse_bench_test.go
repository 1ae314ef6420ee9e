package event

import (
	"fmt"
	"testing"
)

// benchmarkBody is JSON Lines as a shop sends them.
func benchmarkBody(separator string) []byte {
	var b []byte
	for i := range 2000 {
		b = fmt.Appendf(b, `{"event_id":"e%d","user_id":"user-%d","item_id":%d,"event_type":"click","timestamp":%d,"value":4.5}`,
			i, i*7, i*13, 1_700_000_000_000+i)
		b = append(b, separator...)
	}
	return b[:len(b)-len(separator)]
}

func benchmarkParse(b *testing.B, body []byte, contentType string) {
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if p := ParseBody(body, contentType, Options{Now: 1_700_000_000_000}); len(p.Events) != 2000 {
			b.Fatalf("%d events, errors %v", len(p.Events), p.Errors)
		}
	}
}

func BenchmarkParseBodyLines(b *testing.B) {
	benchmarkParse(b, benchmarkBody("\n"), "application/x-ndjson")
}

func BenchmarkParseBodyArray(b *testing.B) {
	benchmarkParse(b, append(append([]byte("["), benchmarkBody(",")...), ']'), "application/json")
}

func BenchmarkParseEvent(b *testing.B) {
	line := []byte(`{"user_id":"user-1","item_id":13,"event_type":"click","timestamp":1700000000000}`)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvent(line, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e := Event{User: "user-1", Item: "13", Type: "click", Time: 1_700_000_000_000, Value: 4.5, HasValue: true}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendJSON(dst[:0], &e)
	}
	b.SetBytes(int64(len(dst)))
}
