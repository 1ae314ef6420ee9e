package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
)

// secret is an id that cannot be in a file by chance, nor be compressed.
const secret = "Xq7Zk2Vw9LpR"

// redactionLog is a log of many small tables in which a user is in some of the
// blocks, with ids that recur across them.
func redactionLog(t *testing.T, rng *rand.Rand, o Options) (l *Log, deletion uint64) {
	t.Helper()
	l = open(t, "log", o)
	id := func() string { return fmt.Sprintf("%s-%d", secret, rng.IntN(6)) }
	add := func(b *Block) {
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	add(catalogueBlock(putUser(secret, 33, secret+" label"), putUser("other", 34)))
	for i := range 16 {
		var list []*event.Event
		for range 1 + rng.IntN(6) {
			list = append(list, view(fmt.Sprint("u", rng.IntN(9)), randomText(rng, 900), "a/b/c"))
			if i%4 != 3 && rng.IntN(2) == 0 {
				e := view(secret, "item", id()+"/"+id()+"/"+id())
				e.Metadata = []byte(`{"mail":"` + secret + `"}`)
				list = append(list, e)
			}
		}
		add(eventBlock(list...))
	}
	if err := l.AppendDeadLetters([]DeadLetter{{Raw: []byte(secret), User: secret}, {Raw: []byte("fine"), User: "other"}}); err != nil {
		t.Fatal(err)
	}
	add(catalogueBlock(putItem("item"), deleteUser(secret)))
	deletion = l.Last()
	add(eventBlock(view("u1", "later", "")))
	return l, deletion
}

// filesWith names the files that contain text.
func filesWith(t *testing.T, mem vfs.FS, text string) []string {
	t.Helper()
	names, err := mem.List("log")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		f, err := mem.Open(path.Join("log", name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, info.Size())
		if len(content) > 0 {
			if _, err := f.ReadAt(content, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(text)) {
			found = append(found, name)
		}
	}
	return found
}

// The power is cut before every single file operation of a redaction, and for
// half of them once more while the redaction is taken up again. The outcome is
// always the one of a redaction that was not interrupted, with no byte of the
// user left in any file.
func TestRedactionSurvivesACrashAtEveryStep(t *testing.T) {
	t.Parallel()
	const seed = 7
	base := vfs.NewCrashableMem()
	l, deletion := redactionLog(t, rand.New(rand.NewPCG(seed, 0)), Options{FS: base, MemTableBytes: 16 << 10})
	if n := len(filesWith(t, base, secret)); n < 2 {
		t.Fatalf("the id is in %d files to begin with", n)
	}
	base = base.CrashClone(vfs.CrashCloneCfg{})
	original, hits := records(t, l), blocksWithSecret(t, l, deletion-1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var want []string
	total := int64(1)
	stages := map[string]int{}
	for cutAt := int64(0); cutAt <= total; cutAt++ {
		rng := rand.New(rand.NewPCG(seed, uint64(cutAt)))
		keep := []int{0, 50, 100}[cutAt%3]
		d := newDisk(base.CrashClone(vfs.CrashCloneCfg{}), cutAt, keep, rng, func() {})
		if err := redactAndClose(d, Redaction{secret, deletion}); err != nil {
			t.Fatal(err)
		}
		if cutAt == 0 { // never cut
			want, total = finishedRedaction(t, d.FS), d.power.Writes()
			continue
		}
		left := d.left()
		checkMark(t, left, deletion, original, hits)
		if cutAt%2 == 0 {
			again := newDisk(left, 1+rng.Int64N(total), keep, rng, func() {})
			finishRedactions(t, again, deletion)
			left = again.left()
			checkMark(t, left, deletion, original, hits)
		}
		stages[finishRedactions(t, left, deletion)]++
		if got := finishedRedaction(t, left); diff(got, want) != "" {
			t.Errorf("cut before operation %d of %d:\n%s", cutAt, total, diff(got, want))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d operations; taken up again %v times", total, stages)
	if stages["all"] == 0 || stages["purge"] == 0 || stages["nothing"] == 0 {
		t.Error("not every stage was interrupted")
	}
}

// blocksWithSecret is the span of the blocks up to upTo that name the user.
func blocksWithSecret(t *testing.T, l *Log, upTo uint64) (hits span) {
	t.Helper()
	if err := l.Scan(1, func(b *Block) error {
		if b.Number <= upTo && bytes.Contains(b.Payload, []byte(secret)) {
			hits = hits.with(b.Number)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return hits
}

// checkMark demands that the mark of an unfinished redaction that has changed
// something covers all that has to be purged.
func checkMark(t *testing.T, mem vfs.FS, deletion uint64, original []string, hits span) {
	t.Helper()
	l, err := Open("log", Options{FS: mem, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	marked, s, err := l.redactionSpan(deletion)
	if err != nil || marked && s != hits && diff(records(t, l), original) != "" {
		t.Errorf("the mark is for blocks %v, want %v, error %v", s, hits, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A redaction also cleans the write-ahead logs of the process that wrote the
// events.
func TestRedactedBytesAreGoneWithoutARestart(t *testing.T) {
	mem := vfs.NewMem()
	l, deletion := redactionLog(t, rand.New(rand.NewPCG(1, 0)), Options{FS: mem, MemTableBytes: 8 << 10})
	logs := slices.DeleteFunc(filesWith(t, mem, secret), func(name string) bool { return !isWAL(name) })
	if len(logs) < 2 {
		t.Fatalf("the id is only in %v to begin with", logs)
	}
	if err := Redact(l, secret, deletion); err != nil {
		t.Fatal(err)
	}
	l.db.TestOnlyWaitForCleaning()
	if found := filesWith(t, mem, secret); len(found) > 0 {
		t.Errorf("the id is still in %v", found)
	}
}

func redactAndClose(disk vfs.FS, r Redaction) error {
	l, err := Open("log", Options{FS: disk, MemTableBytes: 16 << 10})
	if err != nil {
		return err
	}
	return errors.Join(Redact(l, r.User, r.Block), l.Close())
}

// finishRedactions does what a start does, and says what was left to do.
func finishRedactions(t *testing.T, mem vfs.FS, deletion uint64) (stage string) {
	t.Helper()
	l, err := Open("log", Options{FS: mem, MemTableBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := PendingRedactions(l)
	if err != nil {
		t.Fatal(err)
	}
	stage = "nothing"
	for _, p := range pending {
		stage = "all"
		if p.User == pseudonym(deletion, 0) {
			stage = "purge"
		}
		if err := Redact(l, p.User, p.Block); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return stage
}

// finishedRedaction demands that nothing of the user is left, and shows what is.
func finishedRedaction(t *testing.T, mem vfs.FS) []string {
	t.Helper()
	if found := filesWith(t, mem, secret); len(found) > 0 {
		t.Errorf("the id is still in %v", found)
	}
	l, err := Open("log", Options{FS: mem, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	lines := records(t, l)
	pending, err := PendingRedactions(l)
	if err != nil || len(pending) > 0 {
		t.Errorf("pending %v, error %v", pending, err)
	}
	list, _, err := l.DeadLetters("", 10)
	if err != nil || len(list) != 1 || list[0].User != "other" {
		t.Errorf("dead letters %v, error %v", list, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return lines
}
