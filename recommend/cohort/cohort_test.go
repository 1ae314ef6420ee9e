package cohort

import (
	"errors"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend/clean"
	"millrace/recommend/recommendtest"
)

func topology(o Options) *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	Add(operator.From[event.Enriched](clean.Add(events, clean.Defaults()), clean.PortEvents), event.DefaultTypes(), o)
	return t
}

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", func() *operator.Topology { return topology(Options{Shown: 2, Interval: 10 * event.Second}) })
}

func TestValidate(t *testing.T) {
	if err := topology(Defaults()).Err(); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{{}, {Shown: -1}, {Shown: 1, Interval: -1}, {Shown: 1, Interval: event.Day + 1}} {
		if err := topology(o).Err(); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v, want ErrOptions", o, err)
		}
	}
}

func TestBytesThatAreNone(t *testing.T) {
	recommendtest.LoadRefuses[state](t, stateVersion, &cohorts{})
	recommendtest.DecodeRefuses(t, &Preferences{}, Decode)
}

// Shares are parts of all categories, and the same at every later time.
func TestShares(t *testing.T) {
	s := &state{}
	for category, weight := range map[string]uint32{"a": 3000, "b": 1000} {
		s.add(&taste{Category: category, Amount: HalfLife.Amount(1_700_000_000_000, weight), Events: 1})
	}
	p := s.preferences(1)
	for _, at := range []event.Time{1_700_000_000_000, 1_800_000_000_000} {
		if got := p.Share(0, at); got != 0.75 || p.Categories[0].Category != "a" || len(p.Categories) != 1 {
			t.Errorf("share %v of %+v, want 0.75 of a", got, p.Categories)
		}
	}
	if got := (&Preferences{Categories: []Preference{{}}}).Share(0, 0); got != 0 {
		t.Errorf("share %v of nothing", got)
	}
}
