package activity

import (
	"encoding/json"

	"millrace/event"
)

// Interaction is one thing that a user did with an item.
type Interaction struct {
	Item     string
	Type     string
	Time     event.Time
	Value    float64 // meaningful when HasValue
	HasValue bool
}

// MarshalJSON writes the interaction, without a value if it had none.
func (i Interaction) MarshalJSON() ([]byte, error) {
	v := struct {
		Item  string     `json:"item_id"`
		Type  string     `json:"event_type"`
		Time  event.Time `json:"time"`
		Value *float64   `json:"value,omitempty"`
	}{Item: i.Item, Type: i.Type, Time: i.Time}
	if i.HasValue {
		v.Value = &i.Value
	}
	return json.Marshal(v)
}

// recent are the newest interactions, newest first. A newer one is written in
// front of them, into memory that no view has been given, so that views share
// it: adding costs no copy of what is there.
type recent struct {
	buffer []Interaction // buffer[:start] is free
	start  int
	count  int
}

// items are the interactions, newest first; they do not change any more.
func (r *recent) items() []Interaction {
	return r.buffer[r.start : r.start+r.count : r.start+r.count]
}

// add puts an interaction into its place by time, in front of those of the
// same time, and drops the oldest beyond limit.
func (r *recent) add(x Interaction, limit int) {
	items := r.items()
	place := 0
	for place < len(items) && items[place].Time > x.Time {
		place++
	}
	if place >= limit {
		return
	}
	kept := min(len(items), limit-1)
	if place > 0 || r.start == 0 { // out of order, or no room in front
		room := min(kept+3, limit/2+1)
		r.buffer = make([]Interaction, room+1+kept)
		r.start = room + 1
		copy(r.buffer[room:], items[:place])
		copy(r.buffer[room+1+place:], items[place:kept])
	}
	r.start--
	r.count = kept + 1
	r.buffer[r.start+place] = x
}
