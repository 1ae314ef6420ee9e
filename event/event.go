// Package event is what happened: the event model, the catalogue records
// that travel in the same log, their validation and their codecs. It imports
// nothing of ours but its own wire format.
package event

import "github.com/cespare/xxhash/v2"

// Event is one thing that a user did with an item. The zero value is not
// valid; Validate says what is missing.
type Event struct {
	ID       string  // event_id, optional: a repeat by the same user within 24 h of stream time is ignored
	User     string  // user_id, external id
	Item     string  // item_id, external id
	Type     string  // event_type, one of the configured types, e.g. "view"
	Value    float64 // value, meaningful when HasValue: a rating, a price, a dwell time
	HasValue bool
	Time     Time   // timestamp
	Session  string // session_id, optional
	Request  string // request_id of the served list that led here, optional
	Metadata []byte // metadata, a JSON object as it was sent, or nil
}

// HashID is the hash by which ids are found in tables in memory (xxHash64).
func HashID(id string) uint64 { return xxhash.Sum64String(id) }

// Item is what the catalogue knows of an item. Values are immutable once
// handed out: a change makes a new one.
type Item struct {
	ID         string
	Title      string
	Categories []string
	Tags       []string
	Hidden     bool
	Created    Time   // when it was created, or first seen; 0 = not known
	Metadata   []byte // a JSON object as it was sent, or nil
}

// User is what the catalogue knows of a user. Values are immutable once
// handed out.
type User struct {
	ID     string
	Age    int    // in years, 0 = not known
	Gender string // as Gender gives it, "" = not known
	Labels []string
}

// Enriched is an event with what the catalogue knew of its item and its user
// at that point of the log. Item and User are nil where nothing was known.
type Enriched struct {
	Event
	ItemInfo *Item
	UserInfo *User
	// Row is the event's position in its block: for reports only, operators
	// must not let it change a result.
	Row int
}

// ChangeKind says what a catalogue change does.
type ChangeKind uint8

// The catalogue changes. Their numbers are part of the log's format.
const (
	PutItem    ChangeKind = 1
	DeleteItem ChangeKind = 2
	PutUser    ChangeKind = 3
	DeleteUser ChangeKind = 4
	EnsureItem ChangeKind = 5 // an event named an unknown item: created empty, nothing overwritten
	EnsureUser ChangeKind = 6 // an event named an unknown user: created empty, nothing overwritten
)

// Change is one write to the catalogue, a record of the log like any event.
// Item is set for the item kinds, User for the user kinds; for a deletion
// only the ID counts.
type Change struct {
	Kind ChangeKind
	Item *Item
	User *User
}

// Categories of an item, nil when the item is not known.
func (e *Enriched) Categories() []string {
	if e.ItemInfo == nil {
		return nil
	}
	return e.ItemInfo.Categories
}

// Cohort names the user's age band and gender, "" when nothing is known:
// "age:25-34", "gender:f" and "age:25-34/gender:f" are the cohorts of one user.
func (u *User) Cohort() string {
	if u == nil {
		return ""
	}
	band := AgeBand(u.Age)
	switch {
	case band == "" && u.Gender == "":
		return ""
	case band == "":
		return "gender:" + u.Gender
	case u.Gender == "":
		return "age:" + band
	}
	return "age:" + band + "/gender:" + u.Gender
}

// AgeBands are the names of all age bands, youngest first.
func AgeBands() []string {
	return []string{"under-18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"}
}

// AgeBand names the band of an age in years, "" for 0 or less. The bands are
// those of MovieLens 1M.
func AgeBand(age int) string {
	switch {
	case age <= 0:
		return ""
	case age < 18:
		return "under-18"
	case age < 25:
		return "18-24"
	case age < 35:
		return "25-34"
	case age < 45:
		return "35-44"
	case age < 50:
		return "45-49"
	case age < 56:
		return "50-55"
	}
	return "56+"
}
