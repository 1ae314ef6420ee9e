package lastcategory_test

import (
	"os"
	"strings"
	"testing"

	"millrace/docs/examples/lastcategory"
	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend/clean"
)

func topology() *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	cleaned := operator.From[event.Enriched](clean.Add(events, clean.Defaults()), clean.PortEvents)
	lastcategory.Add(cleaned)
	return t
}

func TestScripts(t *testing.T) { harness.RunScript(t, "testdata", topology) }

// The page shows this code: it must be this code.
func TestThePageShowsThisCode(t *testing.T) {
	page, err := os.ReadFile("../../adding-an-operator.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("lastcategory.go")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/streaks")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```")
	for i := 1; i < len(blocks); i += 2 {
		language, code, _ := strings.Cut(blocks[i], "\n")
		switch language {
		case "go":
			for part := range strings.SplitSeq(code, "\n\n") {
				if !strings.Contains(string(source), strings.TrimSpace(part)) {
					t.Errorf("the page shows code that lastcategory.go does not have:\n%s", part)
				}
			}
		case "script":
			if strings.TrimSpace(code) != strings.TrimSpace(string(script)) {
				t.Error("the page's script is not testdata/streaks")
			}
		}
	}
}
