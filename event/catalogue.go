package event

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a catalogue record.
const (
	MaxTitleBytes        = 1 << 10  // of an item's title
	MaxItemMetadataBytes = 16 << 10 // of an item's metadata, in compact JSON
	MaxListed            = 64       // categories, tags or labels of one record
	MaxLabelBytes        = 256      // of one category, tag, label or gender
	MaxAge               = 150      // of a user, in years
)

// ParsedItems is what a request holds: its good items, each with its position
// in the request, and what was refused.
type ParsedItems struct {
	Items []Item
	Index []int // of each item, its position in the request
	Rejected
}

// ParsedUsers is what a request holds: its good users, each with its position
// in the request, and what was refused.
type ParsedUsers struct {
	Users []User
	Index []int // of each user, its position in the request
	Rejected
}

// ParseItems reads items as ParseBody reads events. Of opt only the limits
// matter.
func ParseItems(body []byte, contentType string, opt Options) ParsedItems {
	items, r := parseAll[Item](body, contentType, opt.Limits, itemShape{})
	return ParsedItems{Items: items, Index: r.good, Rejected: r.Rejected}
}

// ParseUsers reads users as ParseBody reads events. Of opt only the limits
// matter.
func ParseUsers(body []byte, contentType string, opt Options) ParsedUsers {
	users, r := parseAll[User](body, contentType, opt.Limits, userShape{})
	return ParsedUsers{Users: users, Index: r.good, Rejected: r.Rejected}
}

// ParseItem reads the JSON object of one item. If id is not empty, as where an
// address names the item, the object may leave its id out, or repeat it. The
// id itself is checked as one in the object is.
func ParseItem(body []byte, id string) (Item, *FieldError) {
	return parseOne[Item](body, itemShape{id})
}

// ParseUser reads the JSON object of one user. If id is not empty, as where an
// address names the user, the object may leave its id out, or repeat it. The
// id itself is checked as one in the object is.
func ParseUser(body []byte, id string) (User, *FieldError) {
	return parseOne[User](body, userShape{id})
}

// The fields of an item.
const (
	itemID = iota
	itemTitle
	itemCategories
	itemTags
	itemHidden
	itemCreated
	itemMetadata
)

var itemNames = []string{
	itemID:         "item_id",
	itemTitle:      "title",
	itemCategories: "categories",
	itemTags:       "tags",
	itemHidden:     "hidden",
	itemCreated:    "created",
	itemMetadata:   "metadata",
}

// itemShape is the shape of an item, of the given id if there is one.
type itemShape struct{ id string }

func (s itemShape) begin(item *Item) { item.ID = s.id }

func (itemShape) expected() string { return "an item: a JSON object" }

func (itemShape) names() []string { return itemNames }

func (itemShape) tuple() []int { return nil }

func (itemShape) field(name []byte) int {
	switch string(name) {
	case "id", "itemId":
		return itemID
	}
	return slices.Index(itemNames, string(name))
}

func (s itemShape) set(item *Item, field int, v jsontext.Value, r *fieldReader) (err *FieldError) {
	name := itemNames[field]
	switch field {
	case itemID:
		item.ID, err = r.expectedID(name, v, s.id)
	case itemTitle:
		item.Title, err = r.title(name, v, MaxTitleBytes)
	case itemCategories:
		item.Categories, err = r.labels(name, v)
	case itemTags:
		item.Tags, err = r.labels(name, v)
	case itemHidden:
		item.Hidden, err = r.boolean(name, v)
	case itemCreated:
		item.Created, err = r.time(name, v)
	case itemMetadata:
		item.Metadata, err = r.metadata(name, v, MaxItemMetadataBytes)
	}
	return err
}

func (itemShape) end(item *Item) *FieldError { return checkID(itemNames[itemID], item.ID) }

// The fields of a user.
const (
	userID = iota
	userAge
	userGender
	userLabels
)

var userNames = []string{
	userID:     "user_id",
	userAge:    "age",
	userGender: "gender",
	userLabels: "labels",
}

// userShape is the shape of a user, of the given id if there is one.
type userShape struct{ id string }

func (s userShape) begin(user *User) { user.ID = s.id }

func (userShape) expected() string { return "a user: a JSON object" }

func (userShape) names() []string { return userNames }

func (userShape) tuple() []int { return nil }

func (userShape) field(name []byte) int {
	switch string(name) {
	case "id", "userId":
		return userID
	}
	return slices.Index(userNames, string(name))
}

func (s userShape) set(user *User, field int, v jsontext.Value, r *fieldReader) (err *FieldError) {
	name := userNames[field]
	switch field {
	case userID:
		user.ID, err = r.expectedID(name, v, s.id)
	case userAge:
		user.Age, err = r.whole(name, v, MaxAge)
	case userGender:
		user.Gender, err = r.title(name, v, MaxLabelBytes)
		user.Gender = Gender(user.Gender)
		if err == nil && len(user.Gender) > MaxLabelBytes {
			err = unexpected(name, fmt.Sprintf(expectedText, MaxLabelBytes), v) // some letters are longer in lower case
		}
	case userLabels:
		user.Labels, err = r.labels(name, v)
	}
	return err
}

// Gender is how a gender is kept, and named in cohorts: in lower case, "f" for
// female and "m" for male, so that the people of a cohort are in one whichever
// way their gender was spelled. Anything else is kept as it is.
func Gender(name string) string {
	switch name = strings.ToLower(name); name {
	case "female":
		return "f"
	case "male":
		return "m"
	}
	return name
}

func (userShape) end(user *User) *FieldError { return checkID(userNames[userID], user.ID) }

// expectedID reads an id that must be the one of the address, if that is not
// empty.
func (r *fieldReader) expectedID(field string, v jsontext.Value, address string) (string, *FieldError) {
	id, err := r.id(field, v)
	if err == nil && address != "" && id != address {
		return "", unexpected(field, "no id, or that of the address, "+strconv.Quote(address), v)
	}
	return id, err
}

// ValidateItem says what is wrong with an item that was not parsed from JSON,
// or nil: the rules are those of ParseItem. A creation time of 0 is none.
func ValidateItem(item *Item) *FieldError {
	if err := checkID(itemNames[itemID], item.ID); err != nil {
		return err
	}
	if err := checkText(itemNames[itemTitle], item.Title, MaxTitleBytes); err != nil {
		return err
	}
	if err := checkLabels(itemNames[itemCategories], item.Categories); err != nil {
		return err
	}
	if err := checkLabels(itemNames[itemTags], item.Tags); err != nil {
		return err
	}
	if item.Created != 0 {
		if err := checkTime(itemNames[itemCreated], item.Created, 0); err != nil {
			return err
		}
	}
	return checkMetadata(itemNames[itemMetadata], item.Metadata, MaxItemMetadataBytes)
}

// ValidateUser says what is wrong with a user that was not parsed from JSON,
// or nil: the rules are those of ParseUser. An age of 0 and an empty gender
// are none.
func ValidateUser(user *User) *FieldError {
	if err := checkID(userNames[userID], user.ID); err != nil {
		return err
	}
	if user.Age < 0 || user.Age > MaxAge {
		return foundText(userNames[userAge], expectedAge, strconv.Itoa(user.Age))
	}
	if err := checkText(userNames[userGender], user.Gender, MaxLabelBytes); err != nil {
		return err
	}
	if user.Gender != Gender(user.Gender) {
		return foundText(userNames[userGender], "lower case, f for female and m for male", user.Gender)
	}
	return checkLabels(userNames[userLabels], user.Labels)
}

// itemKey begins the key of a deletion of an item. No id begins with it.
const itemKey = "\x00item:"

// DeletionKey is how a deletion of a user or an item is written where records
// have keys and no value means that what the key names is gone, as in topics: a
// user's id as it is, an item's after a NUL and "item:". It is nil for changes
// that delete nothing.
func DeletionKey(c *Change) []byte {
	switch c.Kind {
	case DeleteUser:
		return []byte(c.User.ID)
	case DeleteItem:
		return []byte(itemKey + c.Item.ID)
	}
	return nil
}

// ParseDeletion is the change that a DeletionKey says. Keys that hold no id are
// refused.
func ParseDeletion(key []byte) (Change, *FieldError) {
	id, isItem := strings.CutPrefix(string(key), itemKey)
	if isItem {
		return Change{Kind: DeleteItem, Item: &Item{ID: id}}, checkID("key", id)
	}
	return Change{Kind: DeleteUser, User: &User{ID: id}}, checkID("key", id)
}
