package file

import (
	"encoding/json"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"millrace/event"
	"millrace/source"
)

// putItem makes an item the change of a record. It goes through JSON, so that
// the rules for it are those of the API.
func putItem(into *source.Record, item *event.Item) *event.FieldError {
	text, err := json.Marshal(item.JSON())
	if err != nil {
		return fault("metadata", "JSON", item.Metadata)
	}
	checked, fault := event.ParseItem(text, "")
	if fault == nil {
		into.Change = &event.Change{Kind: event.PutItem, Item: &checked}
	}
	return fault
}

// putUser makes a user the change of a record, like putItem.
func putUser(into *source.Record, user *event.User) *event.FieldError {
	text, err := json.Marshal(user.JSON())
	if err != nil {
		return fault("", "a user", nil)
	}
	checked, fault := event.ParseUser(text, "")
	if fault == nil {
		into.Change = &event.Change{Kind: event.PutUser, User: &checked}
	}
	return fault
}

// text decodes what people read: UTF-8, or ISO-8859-1 where it is not valid
// UTF-8, which hardly any text in ISO-8859-1 is by chance.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	decoded, err := charmap.ISO8859_1.NewDecoder().Bytes(b)
	if err != nil {
		return string(b) // cannot be: every byte is a character
	}
	return string(decoded)
}

// csvItems reads the rows of a CSV file as items of the catalogue, such as
// those of movies.csv of MovieLens.
type csvItems struct {
	table
	movies bool // titles end in a year
}

func newCSVItems(t table, header [][]byte) *csvItems {
	return &csvItems{table: t, movies: plain(header[t.columns.at("item")]) == "movieid"}
}

func (d *csvItems) decode(line []byte, into *source.Record) *event.FieldError {
	if ok, fault := d.read(line); !ok {
		return fault
	}
	id, title := string(d.field("item")), text(d.field("title"))
	if d.movies {
		return putItem(into, movie(id, title, d.field("categories")))
	}
	item := &event.Item{ID: id, Title: title, Categories: list(d.field("categories")), Tags: list(d.field("tags"))}
	if created := d.field("created"); len(created) > 0 {
		at, ok := event.ParseTime(string(created))
		if !ok {
			return fault("created", expectedTime, created)
		}
		item.Created = at
	}
	return putItem(into, item)
}

// csvUsers reads the rows of a CSV file as users of the catalogue.
type csvUsers struct{ table }

func (d *csvUsers) decode(line []byte, into *source.Record) *event.FieldError {
	if ok, fault := d.read(line); !ok {
		return fault
	}
	user := &event.User{
		ID:     string(d.field("user")),
		Gender: string(d.field("gender")),
		Labels: list(d.field("labels")),
	}
	if age := d.field("age"); len(age) > 0 {
		years, ok := whole(age)
		if !ok {
			return fault("age", expectedAge, age)
		}
		user.Age = years
	}
	if occupation := d.field("occupation"); len(occupation) > 0 {
		user.Labels = append(user.Labels, "occupation:"+text(occupation))
	}
	return putUser(into, user)
}
