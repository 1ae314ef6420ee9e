package association

import (
	"encoding/json"

	"millrace/event"
	"millrace/event/wire"
)

// Associations is what an item is associated with most: by the sums over its
// latest windows, strongest first, equal ones by id. It is immutable.
type Associations struct {
	from, to event.Time
	list     []Associated
}

// Associated is a partner of an item.
type Associated struct {
	Item        string `json:"item_id"`
	Association uint64 `json:"association"`
}

// From is the start of the first window that was summed up.
func (a *Associations) From() event.Time { return a.from }

// To is the end of the last window that was summed up.
func (a *Associations) To() event.Time { return a.to }

// List are the partners. Not to be changed.
func (a *Associations) List() []Associated { return a.list }

// AppendBinary writes the answer; ReadAssociations reads it. It never fails.
func (a *Associations) AppendBinary(dst []byte) ([]byte, error) {
	dst = wire.AppendVarint(dst, int64(a.from))
	dst = wire.AppendVarint(dst, int64(a.to))
	dst = wire.AppendUvarint(dst, uint64(len(a.list)))
	for _, k := range a.list {
		dst = wire.AppendUvarint(wire.AppendString(dst, k.Item), k.Association)
	}
	return dst, nil
}

// ReadAssociations reads what AppendBinary wrote. Its error is wire.ErrCorrupt.
func ReadAssociations(b []byte) (*Associations, error) {
	r := wire.NewReader(b)
	a := &Associations{from: event.Time(r.Varint()), to: event.Time(r.Varint())}
	for range r.Count() {
		a.list = append(a.list, Associated{r.String(), r.Uvarint()})
		if r.Err() != nil {
			break
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return a, nil
}

// MarshalJSON writes
// {"from":"...","to":"...","associations":[{"item_id":"b","association":2}]}.
func (a *Associations) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		From         string       `json:"from"`
		To           string       `json:"to"`
		Associations []Associated `json:"associations"`
	}{a.from.String(), a.to.String(), a.list})
}
