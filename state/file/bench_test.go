package file

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"millrace/operator"
	"millrace/state"
	"millrace/state/pebble"
)

// The benchmarks are those of state/pebble, on both backends.
const (
	benchKeys  = 100_000
	benchValue = 200
)

// benchTables makes the tables of four shards of two stages, in the order of
// a hash map, with values like those of operators: small integers.
func benchTables(seed uint64) []state.Table {
	random := rand.New(rand.NewPCG(seed, 1))
	var tables []state.Table
	for shard := range 4 {
		t := state.Table{Stage: fmt.Sprint("stage", shard%2)}
		for i := range benchKeys / 4 {
			value := make([]byte, benchValue)
			for at := 0; at+8 <= len(value); at += 8 {
				binary.LittleEndian.PutUint64(value[at:], random.Uint64N(1<<28))
			}
			t.Writes = append(t.Writes, write(fmt.Sprintf("user-%d", (i*7919*4+shard)%(4*benchKeys)), string(value)))
		}
		tables = append(tables, t)
	}
	return tables
}

// both runs a benchmark on this backend and on Pebble.
func both(b *testing.B, run func(b *testing.B, open func() state.Backend)) {
	for _, kind := range []struct {
		name string
		open func(dir string) (state.Backend, error)
	}{
		{"file", func(dir string) (state.Backend, error) { return Open(dir, Options{}) }},
		{"pebble", func(dir string) (state.Backend, error) { return pebble.Open(dir, pebble.Options{}) }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			dir := b.TempDir()
			b.ReportAllocs()
			run(b, func() state.Backend {
				backend, err := kind.open(dir)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() {
					if err := backend.Close(); err != nil {
						b.Error(err)
					}
				})
				return backend
			})
		})
	}
}

func perKey(b *testing.B, keys int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/key")
}

// BenchmarkCommit replaces all keys each time: the worst case, as every second
// checkpoint writes a full snapshot too.
func BenchmarkCommit(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		tables := [][]state.Table{benchTables(1), benchTables(2)}
		block := uint64(0)
		for b.Loop() {
			block++
			n, err := backend.Commit(&state.Checkpoint{Block: block, Tables: tables[block%2]})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(n)
		}
		perKey(b, benchKeys)
		size, err := backend.Size()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(size)/1e6, "MB-on-disk")
	})
}

// BenchmarkCommitTenth replaces a tenth of the keys each time.
func BenchmarkCommitTenth(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		tables := benchTables(1)
		if _, err := backend.Commit(&state.Checkpoint{Tables: tables}); err != nil {
			b.Fatal(err)
		}
		block := uint64(0)
		for b.Loop() {
			block++
			t := tables[block%4]
			from := int(block) * benchKeys / 10 % (len(t.Writes) - benchKeys/10)
			tenth := []state.Table{{Stage: t.Stage, Writes: t.Writes[from : from+benchKeys/10]}}
			if _, err := backend.Commit(&state.Checkpoint{Block: block, Tables: tenth}); err != nil {
				b.Fatal(err)
			}
		}
		perKey(b, benchKeys/10)
	})
}

// BenchmarkCommitSmall is a checkpoint of ten keys: what a commit costs.
func BenchmarkCommitSmall(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		tables := benchTables(1)[:1]
		block := uint64(0)
		for b.Loop() {
			block++
			from := int(block) * 10 % (benchKeys / 8)
			small := []state.Table{{Stage: "s", Writes: tables[0].Writes[from : from+10]}}
			if _, err := backend.Commit(&state.Checkpoint{Block: block, Tables: small}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCommitDeletes is a checkpoint that deletes 10,000 keys which are
// not stored.
func BenchmarkCommitDeletes(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		if _, err := backend.Commit(&state.Checkpoint{Tables: benchTables(1)}); err != nil {
			b.Fatal(err)
		}
		var writes []operator.StateWrite
		for i := range 10_000 {
			writes = append(writes, operator.StateWrite{Key: fmt.Appendf(nil, "user-%d-gone", i)})
		}
		for b.Loop() {
			if _, err := backend.Commit(&state.Checkpoint{Tables: []state.Table{{Stage: "stage0", Writes: writes}}}); err != nil {
				b.Fatal(err)
			}
		}
		perKey(b, len(writes))
	})
}

// BenchmarkCompact rewrites the whole state after a small checkpoint: for this
// backend it is a full snapshot, as Commit makes one when it is due.
func BenchmarkCompact(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		tables := benchTables(1)
		if _, err := backend.Commit(&state.Checkpoint{Tables: tables}); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			small := []state.Table{{Stage: "stage0", Writes: tables[0].Writes[:10]}}
			if _, err := backend.Commit(&state.Checkpoint{Tables: small}); err != nil {
				b.Fatal(err)
			}
			if err := backend.Compact(); err != nil {
				b.Fatal(err)
			}
		}
		perKey(b, benchKeys)
	})
}

// BenchmarkOpenAndLoad opens a directory and reads all keys, as a recovery
// does.
func BenchmarkOpenAndLoad(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		for block := range uint64(4) {
			if _, err := backend.Commit(&state.Checkpoint{Block: block, Tables: benchTables(block)}); err != nil {
				b.Fatal(err)
			}
		}
		if err := backend.Close(); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			backend := open()
			keys, bytes := 0, 0
			err := backend.Load(func(_ string, key, value []byte) error {
				keys++
				bytes += len(key) + len(value)
				return nil
			})
			if err != nil || keys != benchKeys {
				b.Fatalf("%d keys, %v", keys, err)
			}
			if err := backend.Close(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(bytes))
		}
		perKey(b, benchKeys)
	})
}

func BenchmarkGet(b *testing.B) {
	both(b, func(b *testing.B, open func() state.Backend) {
		backend := open()
		tables := benchTables(1)
		if _, err := backend.Commit(&state.Checkpoint{Tables: tables}); err != nil {
			b.Fatal(err)
		}
		i := 0
		for b.Loop() {
			i = (i + 7919) % (benchKeys / 4)
			if _, err := backend.Get(tables[0].Stage, tables[0].Writes[i].Key); err != nil {
				b.Fatal(err)
			}
		}
	})
}
