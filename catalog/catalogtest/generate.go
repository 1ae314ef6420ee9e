package catalogtest

import (
	"strings"

	"pgregory.net/rapid"

	"millrace/event"
)

// OddIDs are ids that a careless statement, collation or encoding would mix
// up, cut or refuse.
var OddIDs = []string{
	"\t", " ", "%", "' OR '1'='1", "'; DROP TABLE items; --", "0", "00", "1", "1.0", "A", "NULL", "\\", "_",
	"a", "a ", "a\nb", "b\"quoted\"", "e\u0301", "longest-" + strings.Repeat("x", 248), "null",
	"ß", "é", "Ω", "Ω", "日本語", "\ufeffbom", "￿", "🎬",
}

// Changes generates any valid change, of few ids, so that changes meet.
func Changes() *rapid.Generator[event.Change] {
	ids := rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), rapid.SampledFrom(OddIDs))
	kinds := rapid.SampledFrom([]event.ChangeKind{
		event.PutItem, event.PutItem, event.DeleteItem, event.EnsureItem,
		event.PutUser, event.PutUser, event.DeleteUser, event.EnsureUser,
	})
	words := rapid.SampledFrom([]string{"", "drama", "Comedy", "it's \"odd\"", "日本", "<&>"})
	lists := rapid.SliceOfN(words, 0, 3)
	created := rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 3, -5, 1_700_000_000_000})
	return rapid.Custom(func(t *rapid.T) event.Change {
		kind, id := kinds.Draw(t, "kind"), ids.Draw(t, "id")
		switch kind {
		case event.DeleteItem:
			return event.Change{Kind: kind, Item: &event.Item{ID: id}}
		case event.EnsureItem:
			return event.Change{Kind: kind, Item: &event.Item{ID: id, Created: event.Time(created.Draw(t, "created"))}}
		case event.PutItem:
			return event.Change{Kind: kind, Item: &event.Item{
				ID: id, Title: words.Draw(t, "title"), Categories: lists.Draw(t, "categories"),
				Tags: lists.Draw(t, "tags"), Hidden: rapid.Bool().Draw(t, "hidden"),
				Created:  event.Time(created.Draw(t, "created")),
				Metadata: rapid.SampledFrom([][]byte{nil, []byte(`{}`), []byte(`{"a": "é'\""}`)}).Draw(t, "metadata"),
			}}
		case event.PutUser:
			return event.Change{Kind: kind, User: &event.User{
				ID: id, Age: rapid.SampledFrom([]int{0, 0, 17, 99}).Draw(t, "age"),
				Gender: rapid.SampledFrom([]string{"", "", "f", "m"}).Draw(t, "gender"),
				Labels: lists.Draw(t, "labels"),
			}}
		}
		return event.Change{Kind: kind, User: &event.User{ID: id}}
	})
}

// Block is the changes of one block and the number that they are applied
// under.
type Block struct {
	Number  uint64
	Changes []event.Change
}

// Blocks generates a run of blocks with rising numbers, not always by one.
func Blocks() *rapid.Generator[[]Block] {
	return rapid.Custom(func(t *rapid.T) []Block {
		list := make([]Block, rapid.IntRange(1, 6).Draw(t, "blocks"))
		number := uint64(0)
		for i := range list {
			number += rapid.Uint64Range(1, 3).Draw(t, "step")
			list[i] = Block{number, rapid.SliceOfN(Changes(), 0, 12).Draw(t, "changes")}
		}
		return list
	})
}
