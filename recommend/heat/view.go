package heat

import (
	"encoding/json"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
	"millrace/recommend/decay"
)

// viewVersion is the version of both views' byte form, its first byte.
const viewVersion = 1

// Heat is the answer for one item. It is immutable.
type Heat struct {
	// Values are the heat at each of HalfLives; Value.At tells what it is at
	// a moment.
	Values [halfLives]decay.Value
	// Events is how many events have counted.
	Events int64
	// Last is the largest event time of them.
	Last event.Time
}

// MarshalJSON writes the values by the names of their half-lives.
func (h *Heat) MarshalJSON() ([]byte, error) {
	values := map[string]decay.Value{}
	for k, name := range names {
		values[name] = h.Values[k]
	}
	return json.Marshal(struct {
		Heat   map[string]decay.Value `json:"heat"`
		Events int64                  `json:"events"`
		Last   event.Time             `json:"last"`
	}{values, h.Events, h.Last})
}

// AppendBinary appends the answer's byte form. It never fails.
func (h *Heat) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, viewVersion)
	for _, v := range h.Values {
		dst = wire.AppendUint64(dst, uint64(v))
	}
	dst = wire.AppendVarint(dst, h.Events)
	return wire.AppendVarint(dst, int64(h.Last)), nil
}

// DecodeHeat reads what AppendBinary wrote. Its errors wrap event.ErrVersion
// and wire.ErrCorrupt.
func DecodeHeat(b []byte) (*Heat, error) {
	r := wire.NewReader(b)
	if v := r.Byte(); v != viewVersion && r.Err() == nil {
		return nil, fmt.Errorf("heat: view: %w %d", event.ErrVersion, v)
	}
	h := &Heat{}
	for k := range h.Values {
		h.Values[k] = decay.Value(r.Uint64())
	}
	h.Events, h.Last = r.Varint(), event.Time(r.Varint())
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("heat: view: %w", err)
	}
	return h, nil
}

// Trending is the answer for one scope and half-life: its hottest items,
// hottest first. It is immutable. Lists share the pieces in which they do not
// differ: an event changes a few places of many lists.
type Trending struct {
	pieces []*[piece]Hot
	n      int
}

// piece is how many items of a list are kept together.
const piece = 8

// NewTrending makes a list.
func NewTrending(items ...Hot) *Trending {
	return (*Trending)(nil).change(0, len(items), len(items), func(i int) Hot {
		hot := items[i]
		hot.hash = event.HashID(hot.Item)
		return hot
	})
}

// Len is how many items there are.
func (t *Trending) Len() int { return t.n }

// At is the item at place i, from 0. It is not to be changed.
func (t *Trending) At(i int) *Hot { return &t.pieces[i/piece][i%piece] }

// change is a list of n items that differs from t, if it is not nil, at most
// at the places from up to to, and where there were none.
func (t *Trending) change(from, to, n int, at func(i int) Hot) *Trending {
	if t == nil {
		t, from, to = &Trending{}, 0, n
	}
	next := &Trending{pieces: make([]*[piece]Hot, (n+piece-1)/piece), n: n}
	copy(next.pieces, t.pieces)
	for k := range next.pieces {
		first, end := k*piece, min((k+1)*piece, n)
		if next.pieces[k] != nil && end <= t.n && (end <= from || first >= to) {
			continue
		}
		next.pieces[k] = new([piece]Hot)
		for i := first; i < end; i++ {
			next.pieces[k][i-first] = at(i)
		}
	}
	return next
}

// MarshalJSON writes {"items":[{"item_id":"a","heat":9,"time":3}]}.
func (t *Trending) MarshalJSON() ([]byte, error) {
	items := make([]*Hot, t.n)
	for i := range items {
		items[i] = t.At(i)
	}
	return json.Marshal(map[string][]*Hot{"items": items})
}

// Hot is an item of a trending list.
type Hot struct {
	Item string      `json:"item_id"`
	Heat decay.Value `json:"heat"` // see Value.At
	Time event.Time  `json:"time"` // of the item's last event in the scope

	hash uint64
}

// Hash is event.HashID of the item.
func (h *Hot) Hash() uint64 { return h.hash }

func (h Hot) append(dst []byte) []byte {
	dst = wire.AppendString(dst, h.Item)
	dst = wire.AppendUint64(dst, uint64(h.Heat))
	return wire.AppendVarint(dst, int64(h.Time))
}

func readHot(r *wire.Reader) Hot {
	return Hot{Item: r.String(), Heat: decay.Value(r.Uint64()), Time: event.Time(r.Varint())}
}

// TrendingKey is the key of a scope's list in the view.
func TrendingKey(scope string, h decay.HalfLife) string {
	for k, l := range kept {
		if l == h {
			return scope + "|" + names[k]
		}
	}
	return ""
}

// AppendBinary appends the answer's byte form. It never fails.
func (t *Trending) AppendBinary(dst []byte) ([]byte, error) {
	dst = wire.AppendUvarint(append(dst, viewVersion), uint64(t.n))
	for i := range t.n {
		dst = t.At(i).append(dst)
	}
	return dst, nil
}

// DecodeTrending reads what AppendBinary wrote. Its errors wrap
// event.ErrVersion and wire.ErrCorrupt.
func DecodeTrending(b []byte) (*Trending, error) {
	r := wire.NewReader(b)
	if v := r.Byte(); v != viewVersion && r.Err() == nil {
		return nil, fmt.Errorf("trending: view: %w %d", event.ErrVersion, v)
	}
	var items []Hot
	for range r.Count() {
		items = append(items, readHot(r))
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("trending: view: %w", err)
	}
	return NewTrending(items...), nil
}
