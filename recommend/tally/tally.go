// Package tally counts things by name where there are few names: events by
// type. It is a sorted slice, which for a dozen names is smaller and faster
// than a map, and has one order.
package tally

import (
	"encoding/json"
	"slices"
	"strings"

	"millrace/event/wire"
)

// Count is how often something was counted.
type Count struct {
	Name string
	N    int64
}

// Counts are counts by name, in ascending order of name. The zero value is
// empty. As JSON they are an object, {"click":2,"view":7}.
type Counts []Count

// Add counts a name n times more.
func (c *Counts) Add(name string, n int64) {
	for i := range *c {
		if (*c)[i].Name == name {
			(*c)[i].N += n
			return
		}
	}
	at, _ := slices.BinarySearchFunc(*c, name, func(a Count, name string) int { return strings.Compare(a.Name, name) })
	*c = slices.Insert(*c, at, Count{name, n})
}

// Of is how often a name was counted, 0 if never.
func (c Counts) Of(name string) int64 {
	for i := range c {
		if c[i].Name == name {
			return c[i].N
		}
	}
	return 0
}

// Append appends the counts' bytes.
func (c Counts) Append(dst []byte) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(c)))
	for _, x := range c {
		dst = wire.AppendVarint(wire.AppendString(dst, x.Name), x.N)
	}
	return dst
}

// Read reads what Append wrote, nil when it is empty. Names that are not in
// ascending order are wire.ErrCorrupt, which it leaves in r.
func Read(r *wire.Reader) Counts {
	n := r.Count()
	if n == 0 {
		return nil
	}
	c := make(Counts, 0, min(n, 64))
	for range n {
		x := Count{r.String(), r.Varint()}
		if len(c) > 0 && x.Name <= c[len(c)-1].Name {
			r.Fail(wire.ErrCorrupt)
		}
		if r.Err() != nil {
			return nil
		}
		c = append(c, x)
	}
	return c
}

// MarshalJSON writes an object with the names in ascending order.
func (c Counts) MarshalJSON() ([]byte, error) {
	m := make(map[string]int64, len(c))
	for _, x := range c {
		m[x.Name] = x.N
	}
	return json.Marshal(m)
}
