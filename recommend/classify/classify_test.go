package classify

import (
	"errors"
	"strings"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend/clean"
)

func topology(o Options) *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	Add(operator.From[event.Enriched](clean.Add(events, clean.Defaults()), clean.PortEvents), o)
	return t
}

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", func() *operator.Topology { return topology(Defaults()) })
}

func TestValidate(t *testing.T) {
	for _, o := range []Options{Defaults(), {Topics: []string{"all"}}, {Topics: []string{"a.{gender}-{age}_{type}"}}} {
		if err := topology(o).Err(); err != nil {
			t.Errorf("%q: %v", o.Topics, err)
		}
	}
	for want, topics := range map[string][]string{
		"want 1 to 100": {}, `"{item}"`: {"{item}"}, `"a b"`: {"a b"}, `""`: {""}, "twice": {"a", "a"}, "letters": {strings.Repeat("a", 101)},
	} {
		if err := topology(Options{Topics: topics}).Err(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", topics, err, want)
		}
	}
}

// Genders may be any text: what is remembered of them is bounded, and what is
// forgotten comes out the same.
func TestManyGenders(t *testing.T) {
	o := &classifier{options: Defaults(), known: map[class][]string{}}
	for i := range 2*mostKnown + 5 {
		e := event.Enriched{Event: event.Event{Type: "view"}, UserInfo: &event.User{Gender: strings.Repeat("x", i%7) + string(rune(0x4e00+i))}}
		if got := o.topics(&e); len(got) != 2 || got[1] != "view.gender."+strings.Repeat("x", i%7)+"___" {
			t.Fatalf("topics %q", got)
		}
	}
	if len(o.known) > mostKnown {
		t.Errorf("%d classes are remembered", len(o.known))
	}
}
