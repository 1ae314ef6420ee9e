package activity

import (
	"encoding/json"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
	"millrace/recommend/names"
	"millrace/recommend/tally"
)

// View is the answer kept ready for each user. It is immutable.
type View struct {
	// BrowseCount is the number of the user's events other than impressions.
	BrowseCount int64
	// Counts are the user's events by type, impressions too.
	Counts tally.Counts
	// LastSeen is the largest event time of the user.
	LastSeen event.Time
	// LastRating is the last that was emitted on the port "ratings", nil if
	// none was.
	LastRating *Rated
	// Recent are the newest interactions, newest first.
	Recent []Interaction
	// Seen are the items that the user interacted with.
	Seen Seen
}

// viewVersion is the version of the view's byte form, its first byte.
const viewVersion = 1

// view is the state as a view; it shares the state's counts.
func (s *state) view() View {
	return View{
		BrowseCount: s.browsed, Counts: s.counts, LastSeen: s.lastSeen, LastRating: s.last,
		Recent: s.recent.items(), Seen: s.seen,
	}
}

// MarshalJSON writes the view for people: of the seen items, only how many.
func (v *View) MarshalJSON() ([]byte, error) {
	recent := v.Recent
	if recent == nil {
		recent = []Interaction{}
	}
	return json.Marshal(struct {
		BrowseCount int64         `json:"browse_count"`
		Counts      tally.Counts  `json:"counts"`
		LastSeen    event.Time    `json:"last_seen"`
		LastRating  *Rated        `json:"last_rating"`
		Recent      []Interaction `json:"recent_items"`
		Seen        int           `json:"seen_count"`
	}{v.BrowseCount, v.Counts, v.LastSeen, v.LastRating, recent, v.Seen.Len()})
}

// AppendBinary appends the view's byte form. It never fails.
func (v *View) AppendBinary(dst []byte) ([]byte, error) {
	return v.appendBody(append(dst, viewVersion)), nil
}

// DecodeView reads what AppendBinary wrote. Its errors are event.ErrVersion
// and wire.ErrCorrupt.
func DecodeView(b []byte) (*View, error) {
	r := wire.NewReader(b)
	if version := r.Byte(); r.Err() == nil && version != viewVersion {
		return nil, fmt.Errorf("decode activity view: version %d: %w", version, event.ErrVersion)
	}
	v := readBody(r, names.New())
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("decode activity view: %w", err)
	}
	return &v, nil
}

func (v *View) appendBody(dst []byte) []byte {
	dst = wire.AppendVarint(dst, v.BrowseCount)
	dst = v.Counts.Append(dst)
	dst = wire.AppendVarint(dst, int64(v.LastSeen))
	dst = wire.AppendBool(dst, v.LastRating != nil)
	if v.LastRating != nil {
		dst = v.LastRating.append(dst)
	}
	dst = wire.AppendUvarint(dst, uint64(len(v.Recent)))
	last := v.LastSeen
	for i := range v.Recent {
		x := &v.Recent[i]
		dst = wire.AppendString(dst, x.Item)
		dst = v.appendType(dst, x.Type)
		dst = wire.AppendVarint(dst, int64(last-x.Time))
		last = x.Time
		dst = wire.AppendBool(dst, x.HasValue)
		if x.HasValue {
			dst = wire.AppendFloat64(dst, x.Value)
		}
	}
	return v.Seen.append(dst)
}

// appendType writes a type by its place among the counts, from 1, or as 0 and
// its name if it is not there.
func (v *View) appendType(dst []byte, name string) []byte {
	for i := range v.Counts {
		if v.Counts[i].Name == name {
			return wire.AppendUvarint(dst, uint64(i+1))
		}
	}
	return wire.AppendString(append(dst, 0), name)
}

func (v *View) readType(r *wire.Reader) string {
	i := r.Uvarint()
	switch {
	case i == 0:
		return r.String()
	case i > uint64(len(v.Counts)):
		r.Fail(wire.ErrCorrupt)
		return ""
	}
	return v.Counts[i-1].Name
}

// readBody reads what appendBody wrote; a failure is left in r. Items are known
// by the strings that the table has of them.
func readBody(r *wire.Reader, t *names.Table) View {
	v := View{BrowseCount: r.Varint(), Counts: tally.Read(r), LastSeen: event.Time(r.Varint())}
	if r.Bool() {
		rated := readRated(r)
		v.LastRating = &rated
	}
	last := v.LastSeen
	for range r.Count() {
		x := Interaction{Item: t.Name(t.ID(r.String())), Type: v.readType(r)}
		x.Time = last - event.Time(r.Varint())
		last = x.Time
		if x.HasValue = r.Bool(); x.HasValue {
			x.Value = r.Float64()
		}
		if r.Err() != nil {
			break
		}
		v.Recent = append(v.Recent, x)
	}
	v.Seen = readSeen(r, t)
	return v
}

func (x *Rated) append(dst []byte) []byte {
	dst = wire.AppendString(dst, x.Item)
	dst = wire.AppendFloat64(dst, x.Value)
	dst = wire.AppendVarint(dst, int64(x.WindowStart))
	return wire.AppendVarint(dst, int64(x.Time-x.WindowStart))
}

func readRated(r *wire.Reader) Rated {
	x := Rated{Item: r.String(), Value: r.Float64(), WindowStart: event.Time(r.Varint())}
	x.Time = x.WindowStart + event.Time(r.Varint())
	return x
}
