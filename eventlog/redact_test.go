package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
)

// view is an event by a user, with ids given as "event/session/request".
func view(user, item, ids string) *event.Event {
	e := &event.Event{User: user, Item: item, Type: "view", Time: 5, Metadata: []byte(`{"page":1}`)}
	if ids != "" {
		part := strings.Split(ids, "/")
		e.ID, e.Session, e.Request = part[0], part[1], part[2]
	}
	return e
}

func eventBlock(list ...*event.Event) *Block {
	b := &Block{Kind: Events, Time: 1, Count: len(list), Positions: []Position{{"file", 9}}, Runs: []Run{{"p", 0}, {"q", len(list)}}}
	for _, e := range list {
		b.Payload = event.AppendEvent(b.Payload, e)
	}
	return b
}

func catalogueBlock(list ...event.Change) *Block {
	b := &Block{Kind: Catalogue, Time: 1, Count: len(list)}
	for i := range list {
		b.Payload = event.AppendChange(b.Payload, &list[i])
	}
	return b
}

func deleteUser(id string) event.Change {
	return event.Change{Kind: event.DeleteUser, User: &event.User{ID: id}}
}

func ensureUser(id string) event.Change {
	return event.Change{Kind: event.EnsureUser, User: &event.User{ID: id}}
}

func putUser(id string, age int, labels ...string) event.Change {
	return event.Change{Kind: event.PutUser, User: &event.User{ID: id, Age: age, Gender: "f", Labels: labels}}
}

func putItem(id string) event.Change {
	return event.Change{Kind: event.PutItem, Item: &event.Item{ID: id, Title: "title"}}
}

// records shows every record of the log in one line, the NUL of pseudonyms as
// an asterisk.
func records(t testing.TB, l *Log) []string {
	t.Helper()
	var lines []string
	err := l.Scan(l.Start().Block+1, func(b *Block) error {
		n := 0
		line := func(format string, args ...any) {
			n++
			lines = append(lines, strings.ReplaceAll(fmt.Sprintf("%d ", b.Number)+fmt.Sprintf(format, args...), "\x00", "*"))
		}
		var err error
		switch b.Kind {
		case Events:
			err = eachEvent(b, func(e *event.Event, _ []byte) {
				line("%s %s %s %s/%s/%s %s", e.User, e.Type, e.Item, e.ID, e.Session, e.Request, e.Metadata)
			})
		case Catalogue:
			err = eachChange(b, func(c *event.Change, _ []byte) {
				if c.Item != nil {
					line("change %d item %s", c.Kind, c.Item.ID)
				} else {
					line("change %d user %s %d%s %v", c.Kind, c.User.ID, c.User.Age, c.User.Gender, c.User.Labels)
				}
			})
		default:
			line("%s", b.Payload)
			n = b.Count
		}
		if n != b.Count {
			t.Errorf("block %d holds %d records and says %d", b.Number, n, b.Count)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// diff shows the lines that differ.
func diff(got, want []string) string {
	var b strings.Builder
	for i := range max(len(got), len(want)) {
		g, w := "-", "-"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			fmt.Fprintf(&b, "  got  %s\n  want %s\n", g, w)
		}
	}
	return b.String()
}

// redactions are logs, and what is left of them once a user has been redacted.
var redactions = []struct {
	name     string
	blocks   []*Block
	user     string
	deletion uint64
	want     []string
}{
	{
		name: "the user's identity goes, the rest stays",
		blocks: []*Block{
			catalogueBlock(putUser("eve", 30, "vip"), putUser("adam", 31, "vip"), putItem("eve")),
			eventBlock(view("eve", "apple", "e1/s1/r1"), view("adam", "eve", "e1/s1/r1"), view("eve", "fig", "")),
			{Kind: Config, Count: 1, Payload: []byte("the eve of something")},
			eventBlock(view("adam", "fig", "")),
			eventBlock(view("steve", "fig", "eve/eve/eve"), view("eve", "eve", "e2/s1/r2"), view("eve", "apple", "e1/s2/e2")),
			catalogueBlock(ensureUser("eve"), ensureUser("adam")),
			catalogueBlock(putItem("apple"), deleteUser("eve"), ensureUser("eve")),
			eventBlock(view("eve", "apple", "e1/s1/r1")),
		},
		user: "eve", deletion: 7,
		want: []string{
			"1 change 3 user *deleted:7 30f []",
			"1 change 3 user adam 31f [vip]",
			"1 change 1 item eve",
			"2 *deleted:7 view apple *deleted:7:1/*deleted:7:2/*deleted:7:3 ",
			`2 adam view eve e1/s1/r1 {"page":1}`,
			"2 *deleted:7 view fig // ",
			"3 the eve of something",
			`4 adam view fig // {"page":1}`,
			`5 steve view fig eve/eve/eve {"page":1}`,
			"5 *deleted:7 view eve *deleted:7:4/*deleted:7:2/*deleted:7:5 ",
			"5 *deleted:7 view apple *deleted:7:1/*deleted:7:6/*deleted:7:4 ",
			"6 change 6 user *deleted:7 0 []",
			"6 change 6 user adam 0 []",
			"7 change 1 item apple",
			"7 change 4 user *deleted:7 0 []",
			"7 change 6 user eve 0 []",
			`8 eve view apple e1/s1/r1 {"page":1}`,
		},
	},
	{
		name:   "a user without events, deleted first of all",
		blocks: []*Block{catalogueBlock(deleteUser("eve"))},
		user:   "eve", deletion: 1,
		want: []string{"1 change 4 user *deleted:1 0 []"},
	},
	{
		name: "one of several deletions in a block",
		blocks: []*Block{
			eventBlock(view("adam", "fig", ""), view("eve", "fig", ""), view("cain", "fig", "")),
			catalogueBlock(deleteUser("adam"), putItem("fig"), deleteUser("eve"), deleteUser("cain")),
		},
		user: "eve", deletion: 2,
		want: []string{
			`1 adam view fig // {"page":1}`,
			"1 *deleted:2.1 view fig // ",
			`1 cain view fig // {"page":1}`,
			"2 change 4 user adam 0 []",
			"2 change 1 item fig",
			"2 change 4 user *deleted:2.1 0 []",
			"2 change 4 user cain 0 []",
		},
	},
	{
		name: "an earlier deletion that is not yet redacted keeps its own pseudonym",
		blocks: []*Block{
			eventBlock(view("eve", "fig", "a/a/a")),
			catalogueBlock(deleteUser("eve")),
			eventBlock(view("eve", "fig", "a/a/a")),
			catalogueBlock(deleteUser("eve")),
		},
		user: "eve", deletion: 4,
		want: []string{
			"1 *deleted:2 view fig *deleted:2:1/*deleted:2:1/*deleted:2:1 ",
			"2 change 4 user *deleted:2 0 []",
			"3 *deleted:4 view fig *deleted:4:1/*deleted:4:1/*deleted:4:1 ",
			"4 change 4 user *deleted:4 0 []",
		},
	},
	{
		name: "deleted twice in one block",
		blocks: []*Block{
			eventBlock(view("eve", "fig", "")),
			catalogueBlock(deleteUser("eve"), ensureUser("eve"), deleteUser("eve"), ensureUser("eve")),
		},
		user: "eve", deletion: 2,
		want: []string{
			"1 *deleted:2.1 view fig // ",
			"2 change 4 user *deleted:2.1 0 []",
			"2 change 6 user *deleted:2.1 0 []",
			"2 change 4 user *deleted:2.1 0 []",
			"2 change 6 user eve 0 []",
		},
	},
}

func TestRedact(t *testing.T) {
	for _, test := range redactions {
		t.Run(test.name, func(t *testing.T) {
			l := openMem(t)
			if err := l.Append(test.blocks...); err != nil {
				t.Fatal(err)
			}
			before := positions(t, l)
			for range 2 { // the second time it changes nothing
				if err := Redact(l, test.user, test.deletion); err != nil {
					t.Fatal(err)
				}
				if d := diff(records(t, l), test.want); d != "" {
					t.Errorf("records:\n%s", d)
				}
				if got := positions(t, l); !slices.Equal(got, before) {
					t.Errorf("headers changed from %v to %v", before, got)
				}
			}
			pending, err := PendingRedactions(l)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pending {
				if p.User == test.user {
					t.Errorf("still pending: %v", p)
				}
			}
		})
	}
}

// positions shows what a redaction must leave as it is in the blocks.
func positions(t *testing.T, l *Log) []string {
	t.Helper()
	var got []string
	if err := l.Scan(1, func(b *Block) error {
		got = append(got, fmt.Sprint(b.Number, b.Kind, b.Time, b.Count, b.Positions, b.Runs))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRedactionsThatAreNotThere(t *testing.T) {
	l := openMem(t)
	if err := l.Append(
		eventBlock(view("eve", "fig", "")),
		catalogueBlock(deleteUser("adam")),
		catalogueBlock(putUser("eve", 1)),
	); err != nil {
		t.Fatal(err)
	}
	want := records(t, l)
	for _, n := range []uint64{0, 1, 2, 3, 4} {
		wantErr(t, fmt.Sprint("block ", n), Redact(l, "eve", n), ErrNotFound)
	}
	if d := diff(records(t, l), want); d != "" {
		t.Error(d)
	}
}

func TestPendingRedactions(t *testing.T) {
	mem := vfs.NewMem()
	l := open(t, "log", Options{FS: mem})
	if err := l.Append(
		catalogueBlock(deleteUser("adam")),
		catalogueBlock(putUser("eve", 1)),
		catalogueBlock(deleteUser("eve"), deleteUser("cain"), deleteUser("eve")),
	); err != nil {
		t.Fatal(err)
	}
	check := func(want ...Redaction) {
		t.Helper()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, "log", Options{FS: mem})
		got, err := PendingRedactions(l)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, error %v, want %v", got, err, want)
		}
	}
	adam, eve, cain := Redaction{"adam", 1}, Redaction{"eve", 3}, Redaction{"cain", 3}
	check(adam, eve, cain)
	for i, step := range []Redaction{eve, adam, cain} {
		if err := Redact(l, step.User, step.Block); err != nil {
			t.Fatal(err)
		}
		check([][]Redaction{{adam, cain}, {cain}, nil}[i]...)
	}
}

// rewrite is what Redact does to the blocks up to one, with another function.
func rewrite(l *Log, fn func(*Block) (bool, error), upTo uint64) error {
	l.rewriteMu.Lock()
	defer l.rewriteMu.Unlock()
	changed, err := l.rewrite(fn, span{1, upTo})
	if err != nil || changed.empty() {
		return err
	}
	return l.purge(changed)
}

func TestRewriteReplacesBlocksFromTheLastToTheFirst(t *testing.T) {
	mem := vfs.NewMem()
	l := open(t, "log", Options{FS: mem})
	for i := range 5 {
		if err := l.Append(block(event.Time(i), fmt.Sprint("original ", i))); err != nil {
			t.Fatal(err)
		}
	}
	var seen []uint64
	err := rewrite(l, func(b *Block) (bool, error) {
		seen = append(seen, b.Number)
		b.Payload = []byte("replaced")
		b.Number, b.Time = 99, 99 // is not taken
		return len(seen)%2 == 0, nil
	}, 4)
	if err != nil || !slices.Equal(seen, []uint64{4, 3, 2, 1}) {
		t.Errorf("saw %v, error %v", seen, err)
	}
	want := []string{
		`1 config t=0 n=1 [] "replaced"`,
		`2 config t=1 n=1 [] "original 1"`,
		`3 config t=2 n=1 [] "replaced"`,
		`4 config t=3 n=1 [] "original 3"`,
		`5 config t=4 n=1 [] "original 4"`,
	}
	if got := scanAll(t, l, 1); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	boom := errors.New("boom")
	wantErr(t, "an error of fn", rewrite(l, func(*Block) (bool, error) { return true, boom }, 5), boom)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for text, n := range map[string]int{"original 0": 0, "original 2": 0, "original 1": 1} {
		if found := filesWith(t, mem, text); len(found) != n {
			t.Errorf("%q is in %v, want %d files", text, found, n)
		}
	}
}
