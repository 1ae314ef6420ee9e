package recommend_test

import (
	"slices"
	"testing"

	"millrace/event"
	"millrace/recommend"
)

// TestViewsOfTheTopology: whoever holds views as bytes can read all of them.
func TestViewsOfTheTopology(t *testing.T) {
	want := slices.Sorted(slices.Values(recommend.Topology(event.DefaultTypes(), recommend.Defaults()).Views()))
	if got := recommend.Views().Names(); !slices.Equal(got, want) {
		t.Errorf("there are decoders for %v, the topology writes %v", got, want)
	}
}
