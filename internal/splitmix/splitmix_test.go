package splitmix_test

import (
	"testing"

	"millrace/internal/splitmix"
)

// The first outputs of SplitMix64 with seed 42.
func TestMix(t *testing.T) {
	state := uint64(42)
	for i, want := range []uint64{0xbdd732262feb6e95, 0x28efe333b266f103, 0x47526757130f9f52} {
		state += splitmix.Gamma
		if got := splitmix.Mix(state); got != want {
			t.Errorf("output %d is %#x, want %#x", i, got, want)
		}
	}
}
