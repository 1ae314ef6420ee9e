package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"millrace/catalog"
	"millrace/catalog/catalogtest"
	"millrace/catalog/sqlite"
	"millrace/event"
)

// childVariable names the folder of the process that TestKilled kills; it is
// this test program, started again.
const childVariable = "MILLRACE_TEST_CATALOG_DIR"

// crashBlock is the changes of a block, the same in both processes: every
// block rewrites, deletes and inserts, so a part of one shows.
func crashBlock(block uint64) []event.Change {
	var changes []event.Change
	for n := range uint64(60) {
		id := fmt.Sprint((block*31 + n*n) % 500)
		switch n % 4 {
		case 0:
			changes = append(changes,
				event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: id}},
				event.Change{Kind: event.DeleteUser, User: &event.User{ID: id}})
		case 1:
			changes = append(changes,
				event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: id, Created: event.Time(block)}},
				event.Change{Kind: event.EnsureUser, User: &event.User{ID: id}})
		default:
			changes = append(changes,
				event.Change{Kind: event.PutItem, Item: &event.Item{ID: id, Title: fmt.Sprint("of block ", block)}},
				event.Change{Kind: event.PutUser, User: &event.User{ID: id, Age: int(block)}})
		}
	}
	return changes
}

// applyUntilKilled is the process that is killed: it replays the log from its
// beginning and says on standard output which block has been applied.
func applyUntilKilled(dir string) {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "catalog.db"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for block := uint64(1); ; block++ {
		if err := store.Apply(ctx, block, crashBlock(block)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(block)
	}
}

// runAndKill starts the process, kills it without warning once it has said
// that the block is applied, and gives the last block that it said so of.
// What it prints is nothing else, migrations included.
func runAndKill(t *testing.T, dir string, after uint64) (acknowledged uint64) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+dir)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if lines.Text() != fmt.Sprint(acknowledged+1) {
			t.Fatalf("the process prints %q after block %d", lines.Text(), acknowledged)
		}
		if acknowledged++; acknowledged == after {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || acknowledged < after {
		t.Fatalf("the process ended by itself after block %d: %v", acknowledged, err)
	}
	if stderr.Len() > 0 {
		t.Fatalf("the process prints %q on standard error", &stderr)
	}
	return acknowledged
}

// modelsTo gives what the catalogue holds after each block up to the last.
func modelsTo(last uint64) []string {
	var model catalogtest.Model
	texts := []string{model.String()}
	for block := uint64(1); block <= last; block++ {
		model.Apply(block, crashBlock(block))
		texts = append(texts, model.String())
	}
	return texts
}

// TestKilled kills a process that applies blocks, again and again. Afterwards
// every block that was acknowledged is there, whole, and nothing of the block
// after the last.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []uint64{1, 3, 40, 90, 200} {
		acknowledged := runAndKill(t, dir, after)
		store := open(t, filepath.Join(dir, "catalog.db"))
		applied := mustApplied(t, store)
		if applied < acknowledged {
			t.Fatalf("block %d was acknowledged, but the last that is there is %d", acknowledged, applied)
		}
		if got, want := read(t, store), modelsTo(applied)[applied]; got != want {
			t.Fatalf("after the kill the store holds\n%s\nexpected\n%s", got, want)
		}
		closeStore(t, store)
	}
}

// TestPowerCut loses the end of the write-ahead log, as a power cut may, at
// many places, and has the last bytes that are left garbled. Whatever is
// left, the store opens at a block that was applied with exactly the rows of
// that block, and a replay that begins before it brings it up to date.
func TestPowerCut(t *testing.T) {
	crashed := t.TempDir()
	last := runAndKill(t, crashed, 60)
	wal, err := os.ReadFile(filepath.Join(crashed, "catalog.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	main, err := os.ReadFile(filepath.Join(crashed, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	want := modelsTo(last + 2) // one may have been applied and not acknowledged
	seen := map[uint64]bool{}
	const cuts = 24
	for cut := range cuts {
		kept := bytes.Clone(wal[:len(wal)*cut/(cuts-1)])
		if cut%2 == 0 && len(kept) > 0 && cut < cuts-1 {
			for i := max(0, len(kept)-100); i < len(kept); i++ {
				kept[i] ^= 0x55
			}
		}
		seen[checkPowerCut(t, main, kept, want)] = true
	}
	if len(seen) < 10 {
		t.Errorf("only blocks %v were the last after %d power cuts", seen, cuts)
	}
}

// checkPowerCut opens a store with what is left of the files and gives the
// last block that is in it.
func checkPowerCut(t *testing.T, main, wal []byte, want []string) uint64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.db")
	for name, content := range map[string][]byte{path: main, path + "-wal": wal} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	store := open(t, path)
	defer closeStore(t, store)
	applied := mustApplied(t, store)
	if got := read(t, store); got != want[applied] {
		t.Fatalf("with %d bytes of the write-ahead log the store holds\n%s\nexpected\n%s", len(wal), got, want[applied])
	}
	end := uint64(len(want) - 1)
	for block := max(applied, 3) - 2; block <= end; block++ {
		if err := store.Apply(t.Context(), block, crashBlock(block)); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, store); got != want[end] {
		t.Fatalf("after the replay the store holds\n%s\nexpected\n%s", got, want[end])
	}
	return applied
}

func mustApplied(t *testing.T, store catalog.Store) uint64 {
	t.Helper()
	applied, err := store.Applied(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return applied
}
