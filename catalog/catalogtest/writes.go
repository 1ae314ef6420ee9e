package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/catalog"
	"millrace/event"
)

func testEmpty(t *testing.T, s catalog.Store) {
	requireRows(t, s, 0)
	if _, err := s.Item(t.Context(), "nobody"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("Item gives %v, expected ErrNotFound", err)
	}
	if _, err := s.User(t.Context(), ""); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("User gives %v, expected ErrNotFound", err)
	}
}

// testChanges is the fold as a table: what a run of changes leaves. Each case
// is applied in one block, and again in a block a change, with the same
// result.
func testChanges(t *testing.T, s catalog.Store) {
	full := event.Item{
		ID: "x", Title: "T", Categories: []string{"b", "a"}, Tags: []string{"t"},
		Hidden: true, Created: 7, Metadata: []byte(`{"k": 1}`),
	}
	const fullText = `item "x" title="T" categories=["b" "a"] tags=["t"] hidden created=7 metadata={"k": 1}`
	bare := func(created event.Time) event.Item { return event.Item{ID: "x", Created: created} }
	ensureItem := func(item event.Item) event.Change { return event.Change{Kind: event.EnsureItem, Item: &item} }
	ensureUser := event.Change{Kind: event.EnsureUser, User: &event.User{ID: "u", Age: 3}}
	user := event.User{ID: "u", Age: 30, Gender: "f", Labels: []string{"z", "y"}}
	const userText = `user "u" age=30 gender="f" labels=["z" "y"]`
	tests := []struct {
		name    string
		changes []event.Change
		want    []string
	}{
		{"nothing", nil, nil},
		{"put keeps every field and the order of lists", []event.Change{putItem(full)}, []string{fullText}},
		{"put replaces all but an unknown creation", []event.Change{putItem(full), putItem(bare(0))}, []string{`item "x" created=7`}},
		{"put replaces a known creation", []event.Change{putItem(full), putItem(bare(3))}, []string{`item "x" created=3`}},
		{"put twice without creation", []event.Change{putItem(bare(7)), putItem(bare(0)), putItem(bare(0))}, []string{`item "x" created=7`}},
		{"ensure inserts an empty item", []event.Change{ensureItem(full)}, []string{`item "x" created=7`}},
		{"ensure leaves a put alone", []event.Change{putItem(full), ensureItem(bare(9))}, []string{fullText}},
		{"ensure leaves an unknown creation alone", []event.Change{putItem(bare(0)), ensureItem(bare(9))}, []string{`item "x"`}},
		{"the first ensure counts", []event.Change{ensureItem(bare(5)), ensureItem(bare(9))}, []string{`item "x" created=5`}},
		{"put keeps the creation of an ensure", []event.Change{ensureItem(bare(5)), putItem(bare(0))}, []string{`item "x" created=5`}},
		{"delete", []event.Change{putItem(full), deleteItem("x")}, nil},
		{"delete of nothing", []event.Change{deleteItem("x"), deleteUser("u")}, nil},
		{"a deleted item's creation is forgotten", []event.Change{putItem(full), deleteItem("x"), putItem(bare(0))}, []string{`item "x"`}},
		{"ensure after delete", []event.Change{putItem(full), deleteItem("x"), ensureItem(bare(9))}, []string{`item "x" created=9`}},
		{"delete, ensure, put", []event.Change{putItem(full), deleteItem("x"), ensureItem(bare(4)), putItem(bare(0))}, []string{`item "x" created=4`}},
		{"put user", []event.Change{putUser(user)}, []string{userText}},
		{"put user replaces all", []event.Change{putUser(user), putUser(event.User{ID: "u"})}, []string{`user "u"`}},
		{"ensure inserts an empty user", []event.Change{ensureUser}, []string{`user "u"`}},
		{"ensure leaves a user alone", []event.Change{putUser(user), ensureUser}, []string{userText}},
		{"delete user", []event.Change{putUser(user), deleteUser("u"), deleteUser("u")}, nil},
		{"an item and a user of one id are two", []event.Change{putItem(full), putUser(event.User{ID: "x", Age: 1}), deleteUser("x")}, []string{fullText}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reset(t, s)
			mustApply(t, s, 1, tt.changes...)
			requireRows(t, s, 1, tt.want...)
			reset(t, s)
			for i, c := range tt.changes {
				mustApply(t, s, uint64(i+1), c)
			}
			requireRows(t, s, uint64(len(tt.changes)), tt.want...)
		})
	}
}

// reset makes the store as new.
func reset(t failer, s catalog.Store) {
	t.Helper()
	if err := s.Rebuild(context.Background(), 0, seqOf[event.Item](), seqOf[event.User]()); err != nil {
		t.Fatal(err)
	}
}

func testIdempotence(t *testing.T, s catalog.Store) {
	first := []event.Change{putItem(event.Item{ID: "x", Title: "first"}), putUser(event.User{ID: "u", Age: 1})}
	second := []event.Change{putItem(event.Item{ID: "x", Title: "second"}), deleteUser("u")}
	mustApply(t, s, 3, first...)
	mustApply(t, s, 5, second...)
	for _, block := range []uint64{0, 1, 3, 4, 5} {
		mustApply(t, s, block, first...)
		requireRows(t, s, 5, `item "x" title="second"`)
	}
	mustApply(t, s, 6)
	requireRows(t, s, 6, `item "x" title="second"`)
}

func testInvalid(t *testing.T, s catalog.Store) {
	mustApply(t, s, 1, putItem(event.Item{ID: "x", Title: "kept"}))
	tests := map[string]event.Change{
		"no kind":               {},
		"unknown kind":          {Kind: 7, Item: &event.Item{ID: "a"}, User: &event.User{ID: "a"}},
		"no item":               {Kind: event.PutItem, User: &event.User{ID: "a"}},
		"no user":               {Kind: event.DeleteUser, Item: &event.Item{ID: "a"}},
		"no id":                 putItem(event.Item{Title: "a"}),
		"long id":               putUser(event.User{ID: strings.Repeat("x", catalog.MaxIDBytes+1)}),
		"NUL in the id":         deleteItem("a\x00b"),
		"id that is not UTF-8":  {Kind: event.EnsureUser, User: &event.User{ID: "a\xff"}},
		"NUL in the title":      putItem(event.Item{ID: "a", Title: "\x00"}),
		"title not UTF-8":       putItem(event.Item{ID: "a", Title: "\xc3"}),
		"category not UTF-8":    putItem(event.Item{ID: "a", Categories: []string{"ok", "\xff"}}),
		"tag not UTF-8":         putItem(event.Item{ID: "a", Tags: []string{"\xff"}}),
		"metadata not UTF-8":    putItem(event.Item{ID: "a", Metadata: []byte("{\"\xff\":1}")}),
		"NUL in the gender":     putUser(event.User{ID: "a", Gender: "\x00"}),
		"label not UTF-8":       putUser(event.User{ID: "a", Labels: []string{"\xff"}}),
		"gender that is latin1": putUser(event.User{ID: "a", Gender: "m\xe4nnlich"}),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			if err := catalog.Check(change); !errors.Is(err, catalog.ErrInvalid) {
				t.Errorf("Check gives %v, expected ErrInvalid", err)
			}
			err := s.Apply(t.Context(), 2, []event.Change{deleteItem("x"), putItem(event.Item{ID: "before"}), change})
			if !errors.Is(err, catalog.ErrInvalid) {
				t.Errorf("Apply gives %v, expected ErrInvalid", err)
			}
			requireRows(t, s, 1, `item "x" title="kept"`)
		})
	}
}

func testCancelled(t *testing.T, s catalog.Store) {
	mustApply(t, s, 1, putItem(event.Item{ID: "x", Title: "kept"}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Apply(ctx, 2, []event.Change{deleteItem("x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply gives %v, expected context.Canceled", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	items := func(yield func(*event.Item) bool) {
		for n := range 1000 {
			if n == 500 {
				cancel()
			}
			if !yield(&event.Item{ID: fmt.Sprint("new-", n)}) {
				return
			}
		}
	}
	if err := s.Rebuild(ctx, 9, items, seqOf[event.User]()); !errors.Is(err, context.Canceled) {
		t.Errorf("Rebuild gives %v, expected context.Canceled", err)
	}
	requireRows(t, s, 1, `item "x" title="kept"`)
	mustApply(t, s, 2, deleteItem("x"))
	requireRows(t, s, 2)
}

func testExtremes(t *testing.T, s catalog.Store) {
	text := strings.Repeat("long and ünïcode ", 1<<13)
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("category-%d", i)
	}
	items := []event.Item{
		{ID: "1 empty object", Metadata: []byte(`{}`)},
		{ID: "2 as it was sent", Metadata: []byte("{ \"b\" : 1.0,\r\n\t\"a\":1e400, \"a\":\"\\u0000\" }")},
		{ID: "3 large", Title: text, Metadata: []byte(`{"t":"` + strings.Repeat("x", 3<<20) + `"}`)},
		{ID: "4 wide", Categories: many, Tags: many[:3000]},
		{ID: "5 lists", Categories: []string{"", "a,b", `["x"]`, "null", "a\x00b", "  "}, Tags: []string{""}},
		{ID: "6 early", Created: math.MinInt64},
		{ID: "7 late", Created: math.MaxInt64, Hidden: true},
		{ID: "8 title", Title: "\u202e'\"\\%_\n\t "},
	}
	users := []event.User{{ID: "1", Age: math.MaxInt32}, {ID: "2", Age: -1}, {ID: "3", Gender: text, Labels: many}}
	model := Model{}
	var changes []event.Change
	for _, item := range items {
		changes = append(changes, putItem(item))
	}
	for _, user := range users {
		changes = append(changes, putUser(user))
	}
	for _, block := range []uint64{1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		mustApply(t, s, block, changes...)
		model.Apply(block, changes)
		requireEqual(t, s, model.String())
	}
	for _, want := range items {
		got, err := s.Item(t.Context(), want.ID)
		if err != nil || ItemText(got) != ItemText(&want) {
			t.Errorf("item %q is not what was put, %v", want.ID, err)
		}
	}
}

// testNothing puts empty lists and metadata, which read as nil.
func testNothing(t *testing.T, s catalog.Store) {
	empty := []string{}
	mustApply(t, s, 1,
		putItem(event.Item{ID: "x", Categories: empty, Tags: empty, Metadata: []byte{}}),
		putUser(event.User{ID: "u", Labels: empty}))
	item, err := s.Item(t.Context(), "x")
	if err != nil || item.Categories != nil || item.Tags != nil || item.Metadata != nil {
		t.Errorf("the item is %#v, %v; expected nil lists and metadata", item, err)
	}
	user, err := s.User(t.Context(), "u")
	if err != nil || user.Labels != nil {
		t.Errorf("the user is %#v, %v; expected nil labels", user, err)
	}
}

// testManyChanges applies more changes in a block than any statement takes.
func testManyChanges(t *testing.T, s catalog.Store) {
	var model Model
	for block := uint64(1); block <= 3; block++ {
		var changes []event.Change
		for n := range 3001 {
			id := fmt.Sprintf("%04d", (n*7919)%3001)
			switch (n + int(block)) % 4 {
			case 0:
				changes = append(changes, deleteItem(id), deleteUser(id))
			case 1:
				changes = append(changes,
					event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: id, Created: event.Time(n)}},
					event.Change{Kind: event.EnsureUser, User: &event.User{ID: id}})
			default:
				changes = append(changes,
					putItem(event.Item{ID: id, Title: fmt.Sprint("of block ", block), Categories: []string{"c"}}),
					putUser(event.User{ID: id, Age: n}))
			}
		}
		mustApply(t, s, block, changes...)
		model.Apply(block, changes)
		requireEqual(t, s, model.String())
	}
}

// testAgreement is the property that makes SQL and memory views of one log:
// after any blocks, replays of earlier ones among them, the store holds what
// the model holds, and the index holds the items and the users that have
// attributes.
func testAgreement(t *testing.T, s catalog.Store) {
	rapid.Check(t, func(t *rapid.T) {
		reset(t, s)
		blocks := Blocks().Draw(t, "log")
		var model Model
		index := catalog.NewIndex()
		for i, block := range blocks {
			mustApply(t, s, block.Number, block.Changes...)
			model.Apply(block.Number, block.Changes)
			for _, c := range block.Changes {
				index.Apply(c)
			}
			for range rapid.IntRange(0, 2).Draw(t, "replays") {
				again := blocks[rapid.IntRange(0, i).Draw(t, "replayed")]
				mustApply(t, s, again.Number, again.Changes...)
			}
		}
		requireEqual(t, s, model.String())
		requireIndex(t, index, s)
	})
}

// requireIndex compares an index with a store.
func requireIndex(t failer, index *catalog.Index, s catalog.Store) {
	t.Helper()
	var inStore, inIndex strings.Builder
	ctx := context.Background()
	err := errors.Join(
		s.EachItem(ctx, func(item *event.Item) error {
			inStore.WriteString(ItemText(item) + "\n")
			return nil
		}),
		s.EachUser(ctx, func(user *event.User) error {
			if user.Age != 0 || user.Gender != "" || len(user.Labels) > 0 {
				inStore.WriteString(UserText(user) + "\n")
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	for item := range index.Items() {
		inIndex.WriteString(ItemText(item) + "\n")
	}
	for user := range index.Users() {
		inIndex.WriteString(UserText(user) + "\n")
	}
	if inIndex.String() != inStore.String() {
		t.Fatalf("the index holds\n%s\nthe store holds\n%s", &inIndex, &inStore)
	}
}

func testClosed(t *testing.T, s catalog.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, errItem := s.Item(t.Context(), "x")
	_, errApplied := s.Applied(t.Context())
	for name, err := range map[string]error{
		"Apply": s.Apply(t.Context(), 1, nil), "Item": errItem, "Applied": errApplied,
	} {
		if err == nil || errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("%s of a closed store gives %v, expected an error", name, err)
		}
	}
}
