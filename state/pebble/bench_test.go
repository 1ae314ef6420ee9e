package pebble

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"millrace/state"
	"millrace/state/statetest"
)

func BenchmarkBackend(b *testing.B) {
	statetest.Benchmark(b, func(dir string) (state.Backend, error) { return Open(dir, Options{}) })
}

// BenchmarkCommitBatch is what Commit does not do, for comparison: one large
// batch through the write-ahead log and the memtable. Look at -benchmem too,
// but most of its memory is outside the Go heap.
func BenchmarkCommitBatch(b *testing.B) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: logger{}, FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		b.Fatal(err)
	}
	tables := [][]state.Table{statetest.BenchTables(1), statetest.BenchTables(2)}
	round := 0
	for b.Loop() {
		round++
		batch := db.NewBatch()
		var key []byte
		for _, t := range tables[round%2] {
			for _, w := range t.Writes {
				key = appendKey(key[:0], t.Stage, w.Key)
				if err := batch.Set(key, w.Value, nil); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			b.Fatal(err)
		}
	}
	statetest.PerKey(b, statetest.BenchKeys)
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}
