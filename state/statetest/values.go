package statetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"millrace/operator"
	"millrace/state"
)

// Write is a key's new value.
func Write(key, value string) operator.StateWrite {
	return operator.StateWrite{Key: []byte(key), Value: []byte(value)}
}

// Commit commits writes of a stage s.
func Commit(t testing.TB, b state.Backend, block uint64, writes ...operator.StateWrite) {
	t.Helper()
	if err := TryCommit(b, block, writes...); err != nil {
		t.Fatal(err)
	}
}

// TryCommit is Commit where it may fail.
func TryCommit(b state.Backend, block uint64, writes ...operator.StateWrite) error {
	_, err := b.Commit(&state.Checkpoint{Block: block, Tables: []state.Table{{Stage: "s", Writes: writes}}})
	return err
}

// Contents is all that a backend has: values by key for the stage s, by
// stage/key for others.
func Contents(b state.Backend) (map[string]string, error) {
	got := map[string]string{}
	err := b.Load(func(stage string, key, value []byte) error {
		got[strings.TrimPrefix(stage+"/"+string(key), "s/")] = string(value)
		return nil
	})
	return got, err
}

// CommitThousands commits five times 2000 keys of any size, some of them again
// and again, and returns what the backend must have then.
func CommitThousands(t testing.TB, b state.Backend) map[string]string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	want := map[string]string{}
	for block := range uint64(5) {
		var writes []operator.StateWrite
		for i := range 2000 {
			w := Write(fmt.Sprint("user", i*int(block+1)), Incompressible(random.IntN(200)))
			want[string(w.Key)] = string(w.Value)
			writes = append(writes, w)
		}
		Commit(t, b, block, writes...)
	}
	return want
}

// CommitHistory commits 20 writes of 50 keys as block 0, 1, 2 and so on, and
// returns what each of the checkpoints has.
func CommitHistory(t testing.TB, b state.Backend, blocks uint64) (checkpoints []map[string]string) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 3))
	now := map[string]string{}
	for block := range blocks {
		var writes []operator.StateWrite
		for range 20 {
			w := Write(fmt.Sprint("k", random.IntN(50)), Incompressible(50+random.IntN(100)))
			now[string(w.Key)] = string(w.Value)
			writes = append(writes, w)
		}
		Commit(t, b, block, writes...)
		checkpoints = append(checkpoints, maps.Clone(now))
	}
	return checkpoints
}

// WantContents demands what the stage s of a backend must have.
func WantContents(t testing.TB, b state.Backend, about string, want map[string]string) {
	t.Helper()
	got, err := Contents(b)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%s: %d keys, %v; want %d", about, len(got), err, len(want))
	}
	for key, value := range want {
		if got[key] != value {
			t.Fatalf("%s: %s differs", about, key)
		}
	}
}

// Incompressible is a value of n random bytes, always the same.
func Incompressible(n int) string {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	return string(value)
}
