package recommend_test

import (
	"slices"
	"testing"

	"millrace/event"
	"millrace/recommend"
	"millrace/recommend/cohort"
)

// TestViewsOfTheTopology: whoever holds views as bytes can read all of them.
func TestViewsOfTheTopology(t *testing.T) {
	all := recommend.Defaults()
	options := cohort.Defaults()
	all.Cohort = &options
	want := slices.Sorted(slices.Values(recommend.Topology(event.DefaultTypes(), all).Views()))
	if got := recommend.Views().Names(); !slices.Equal(got, want) {
		t.Errorf("there are decoders for %v, the topology writes %v", got, want)
	}
}
