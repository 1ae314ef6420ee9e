package pebble

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"millrace/operator"
	"millrace/state"
)

// benchKeys and benchValue are how many keys a checkpoint of the benchmarks
// has and how many bytes a value.
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

func BenchmarkCommit(b *testing.B) {
	backend := open(b, b.TempDir(), nil)
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
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

// BenchmarkCommitBatch is what Commit does not do, for comparison: one large
// batch through the write-ahead log and the memtable. Look at -benchmem too,
// but most of its memory is outside the Go heap.
func BenchmarkCommitBatch(b *testing.B) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: logger{}, FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		b.Fatal(err)
	}
	tables := [][]state.Table{benchTables(1), benchTables(2)}
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
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommitSmall is a checkpoint of ten keys: what a commit costs.
func BenchmarkCommitSmall(b *testing.B) {
	backend := open(b, b.TempDir(), nil)
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
}

// BenchmarkCommitDeletes is a checkpoint that deletes 10,000 keys which are
// not stored: each is looked up.
func BenchmarkCommitDeletes(b *testing.B) {
	backend := open(b, b.TempDir(), nil)
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
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(writes)), "ns/key")
}

func BenchmarkLoad(b *testing.B) {
	backend := open(b, b.TempDir(), nil)
	for block := range uint64(3) {
		if _, err := backend.Commit(&state.Checkpoint{Block: block, Tables: benchTables(block)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		keys, bytes := 0, 0
		err := backend.Load(func(_ string, key, value []byte) error {
			keys++
			bytes += len(key) + len(value)
			return nil
		})
		if err != nil || keys != benchKeys {
			b.Fatalf("%d keys, %v", keys, err)
		}
		b.SetBytes(int64(bytes))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

func BenchmarkGet(b *testing.B) {
	backend := open(b, b.TempDir(), nil)
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
}
