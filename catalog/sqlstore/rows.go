package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"

	"millrace/event"
)

// layout is how a table's rows are written as values and read back. Lists are
// JSON arrays in text columns, so people and other programs can query them.
type layout[R any] struct {
	table   string
	columns []string // the id first
	keep    string   // the column that an upsert leaves alone where the new value is 0, or ""
	quiet   bool     // an ensured row tells followers nothing
	id      func(*R) string
	values  func(dst []any, row *R) []any // appends one a column
	scan    func(scan func(dst ...any) error) (*R, error)
}

var itemLayout = layout[event.Item]{
	table:   "items",
	columns: []string{"id", "title", "categories", "tags", "hidden", "created", "metadata"},
	keep:    "created",
	id:      func(item *event.Item) string { return item.ID },
	values: func(dst []any, item *event.Item) []any {
		metadata := sql.NullString{String: string(item.Metadata), Valid: len(item.Metadata) > 0}
		return append(dst, item.ID, item.Title, encodeList(item.Categories), encodeList(item.Tags),
			item.Hidden, int64(item.Created), metadata)
	},
	scan: func(scan func(...any) error) (*event.Item, error) {
		var item event.Item
		var categories, tags []byte
		err := scan(&item.ID, &item.Title, &categories, &tags, &item.Hidden, (*int64)(&item.Created), &item.Metadata)
		if err == nil {
			item.Categories, err = decodeList(categories)
		}
		if err == nil {
			item.Tags, err = decodeList(tags)
		}
		return &item, err
	},
}

var userLayout = layout[event.User]{
	table:   "users",
	columns: []string{"id", "age", "gender", "labels"},
	quiet:   true,
	id:      func(user *event.User) string { return user.ID },
	values: func(dst []any, user *event.User) []any {
		return append(dst, user.ID, int64(user.Age), user.Gender, encodeList(user.Labels))
	},
	scan: func(scan func(...any) error) (*event.User, error) {
		var user event.User
		var labels []byte
		err := scan(&user.ID, &user.Age, &user.Gender, &labels)
		if err == nil {
			user.Labels, err = decodeList(labels)
		}
		return &user, err
	},
}

const emptyList = "[]"

func encodeList(list []string) string {
	if len(list) == 0 {
		return emptyList
	}
	text, err := json.Marshal(list)
	if err != nil { // strings always have a JSON form
		panic(fmt.Sprintf("sqlstore: encoding a list of strings: %v", err))
	}
	return string(text)
}

func decodeList(text []byte) ([]string, error) {
	if string(text) == emptyList {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("a list column is not a JSON array of strings: %w", err)
	}
	return list, nil
}
