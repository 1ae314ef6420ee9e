package file

import (
	"testing"

	"millrace/state"
	"millrace/state/statetest"
)

// Commits of all keys are the worst case, as every second writes a full
// snapshot too; Compact is such a snapshot.
func BenchmarkBackend(b *testing.B) {
	statetest.Benchmark(b, func(dir string) (state.Backend, error) { return Open(dir, Options{}) })
}
