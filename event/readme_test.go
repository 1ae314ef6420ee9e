package event

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples of the README are true: each block of a request is followed by
// blocks of the events and the errors that come of it.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json (request|events|errors)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	requests := 0
	for i := 0; i < len(blocks); {
		if blocks[i][1] != "request" {
			t.Fatalf("a block of %s follows no request:\n%s", blocks[i][1], blocks[i][2])
		}
		request := blocks[i][2]
		want := map[string]string{}
		for i++; i < len(blocks) && blocks[i][1] != "request"; i++ {
			want[blocks[i][1]] = blocks[i][2]
		}
		requests++
		p := ParseBody([]byte(request), "application/json", Options{})
		var events, errors strings.Builder
		for i := range p.Events {
			events.Write(append(AppendJSON(nil, &p.Events[i]), '\n'))
		}
		encoder := json.NewEncoder(&errors)
		encoder.SetEscapeHTML(false)
		for i := range p.Errors {
			if err := encoder.Encode(&p.Errors[i]); err != nil {
				t.Fatal(err)
			}
		}
		if events.String() != want["events"] {
			t.Errorf("request:\n%sevents:\n%s\nthe README has:\n%s", request, events.String(), want["events"])
		}
		if errors.String() != want["errors"] {
			t.Errorf("request:\n%serrors:\n%s\nthe README has:\n%s", request, errors.String(), want["errors"])
		}
	}
	if requests == 0 {
		t.Error("the README has no examples")
	}
}
