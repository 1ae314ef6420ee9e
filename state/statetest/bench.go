package statetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"millrace/operator"
	"millrace/state"
)

// BenchKeys is how many keys a checkpoint of the benchmarks has, each with a
// value of benchValue bytes.
const (
	BenchKeys  = 100_000
	benchValue = 200
)

// BenchTables makes the tables of four shards of two stages, in the order of
// a hash map, with values like those of operators: small integers.
func BenchTables(seed uint64) []state.Table {
	random := rand.New(rand.NewPCG(seed, 1))
	var tables []state.Table
	for shard := range 4 {
		t := state.Table{Stage: fmt.Sprint("stage", shard%2)}
		for i := range BenchKeys / 4 {
			value := make([]byte, benchValue)
			for at := 0; at+8 <= len(value); at += 8 {
				binary.LittleEndian.PutUint64(value[at:], random.Uint64N(1<<28))
			}
			t.Writes = append(t.Writes, Write(fmt.Sprintf("user-%d", (i*7919*4+shard)%(4*BenchKeys)), string(value)))
		}
		tables = append(tables, t)
	}
	return tables
}

// bencher opens the place of one benchmark, again and again.
type bencher struct {
	*testing.B
	openPlace func() (state.Backend, error)
}

// Benchmark measures what an engine asks of a backend.
func Benchmark(b *testing.B, open func(dir string) (state.Backend, error)) {
	for _, bench := range []struct {
		name string
		run  func(b bencher)
	}{
		{"Commit", benchCommit},
		{"CommitTenth", benchCommitTenth},
		{"CommitSmall", benchCommitSmall},
		{"CommitDeletes", benchCommitDeletes},
		{"Compact", benchCompact},
		{"OpenAndLoad", benchOpenAndLoad},
		{"Load", benchLoad},
		{"Get", benchGet},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			dir := b.TempDir()
			bench.run(bencher{b, func() (state.Backend, error) { return open(dir) }})
		})
	}
}

func (b bencher) open() state.Backend {
	backend, err := b.openPlace()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := backend.Close(); err != nil {
			b.Error(err)
		}
	})
	return backend
}

func (b bencher) commit(backend state.Backend, block uint64, tables ...state.Table) int64 {
	n, err := backend.Commit(&state.Checkpoint{Block: block, Tables: tables})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// PerKey reports the time that a benchmark takes for each of the keys of an
// iteration.
func PerKey(b *testing.B, keys int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/key")
}

// benchCommit replaces all keys each time.
func benchCommit(b bencher) {
	backend := b.open()
	tables := [][]state.Table{BenchTables(1), BenchTables(2)}
	block := uint64(0)
	for b.Loop() {
		block++
		b.SetBytes(b.commit(backend, block, tables[block%2]...))
	}
	PerKey(b.B, BenchKeys)
	size, err := backend.Size()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(size)/1e6, "MB-on-disk")
}

// benchCommitTenth replaces a tenth of the keys each time.
func benchCommitTenth(b bencher) {
	backend := b.open()
	tables := BenchTables(1)
	b.commit(backend, 0, tables...)
	block := uint64(0)
	for b.Loop() {
		block++
		t := tables[block%4]
		from := int(block) * BenchKeys / 10 % (len(t.Writes) - BenchKeys/10)
		b.commit(backend, block, state.Table{Stage: t.Stage, Writes: t.Writes[from : from+BenchKeys/10]})
	}
	PerKey(b.B, BenchKeys/10)
}

// benchCommitSmall is a checkpoint of ten keys: what a commit costs.
func benchCommitSmall(b bencher) {
	backend := b.open()
	writes := BenchTables(1)[0].Writes
	block := uint64(0)
	for b.Loop() {
		block++
		from := int(block) * 10 % (BenchKeys / 8)
		b.commit(backend, block, state.Table{Stage: "s", Writes: writes[from : from+10]})
	}
}

// benchCommitDeletes is a checkpoint that deletes 10,000 keys which are not
// stored.
func benchCommitDeletes(b bencher) {
	backend := b.open()
	b.commit(backend, 0, BenchTables(1)...)
	var writes []operator.StateWrite
	for i := range 10_000 {
		writes = append(writes, operator.StateWrite{Key: fmt.Appendf(nil, "user-%d-gone", i)})
	}
	for b.Loop() {
		b.commit(backend, 0, state.Table{Stage: "stage0", Writes: writes})
	}
	PerKey(b.B, len(writes))
}

// benchCompact rewrites the whole state after a small checkpoint.
func benchCompact(b bencher) {
	backend := b.open()
	tables := BenchTables(1)
	b.commit(backend, 0, tables...)
	for b.Loop() {
		b.commit(backend, 0, state.Table{Stage: "stage0", Writes: tables[0].Writes[:10]})
		if err := backend.Compact(); err != nil {
			b.Fatal(err)
		}
	}
	PerKey(b.B, BenchKeys)
}

// benchOpenAndLoad opens a directory and reads all keys, as a recovery does.
func benchOpenAndLoad(b bencher) {
	backend := b.open()
	for block := range uint64(4) {
		b.commit(backend, block, BenchTables(block)...)
	}
	if err := backend.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		backend := b.open()
		b.SetBytes(b.load(backend))
		if err := backend.Close(); err != nil {
			b.Fatal(err)
		}
	}
	PerKey(b.B, BenchKeys)
}

// benchLoad reads all keys of an open backend.
func benchLoad(b bencher) {
	backend := b.open()
	for block := range uint64(3) {
		b.commit(backend, block, BenchTables(block)...)
	}
	for b.Loop() {
		b.SetBytes(b.load(backend))
	}
	PerKey(b.B, BenchKeys)
}

// load reads everything and returns the bytes of it.
func (b bencher) load(backend state.Backend) int64 {
	keys, bytes := 0, 0
	err := backend.Load(func(_ string, key, value []byte) error {
		keys++
		bytes += len(key) + len(value)
		return nil
	})
	if err != nil || keys != BenchKeys {
		b.Fatalf("%d keys, %v", keys, err)
	}
	return int64(bytes)
}

func benchGet(b bencher) {
	backend := b.open()
	tables := BenchTables(1)
	b.commit(backend, 0, tables...)
	i := 0
	for b.Loop() {
		i = (i + 7919) % (BenchKeys / 4)
		if _, err := backend.Get(tables[0].Stage, tables[0].Writes[i].Key); err != nil {
			b.Fatal(err)
		}
	}
}
