package pairs

import (
	"encoding/binary"
	"strings"

	"millrace/event"
)

// Names gives external ids small numbers, from 1. The numbers are the private
// business of one operator instance: they depend on the order in which ids
// were seen, so nothing that leaves the instance is ordered by them. The zero
// value is not usable; see NewNames.
type Names struct {
	ids    map[string]uint32
	names  []string
	hashes []uint64 // of names
	prefix []uint64 // the first eight bytes of a name, for comparing
	terms  *Terms   // of now, nil if there is a new number since

	marks []uint32 // by number: the round in which it was marked
	round uint32

	senders []sender
}

// sender is what another instance's numbers are here, 0 if not yet known.
type sender struct {
	names *Names
	own   []uint32
}

// NewNames makes an empty table.
func NewNames() *Names {
	return &Names{ids: make(map[string]uint32), names: []string{""}, hashes: []uint64{0}, prefix: []uint64{0}, marks: []uint32{0}}
}

// ID is the number of an external id, a new one if it was not seen before.
func (n *Names) ID(name string) uint32 {
	if id, ok := n.ids[name]; ok {
		return id
	}
	id := uint32(len(n.names))
	n.ids[name] = id
	n.names = append(n.names, name)
	n.hashes = append(n.hashes, event.HashID(name))
	n.marks = append(n.marks, 0)
	var first [8]byte
	copy(first[:], name)
	n.prefix = append(n.prefix, binary.BigEndian.Uint64(first[:]))
	n.terms = nil
	return id
}

// Name is the external id of a number.
func (n *Names) Name(id uint32) string { return n.names[id] }

// Table is the external ids by number. Numbers that exist now keep their
// place in it for good, so that others may read it while ids are added.
func (n *Names) Table() []string { return n.names }

// Terms are the numbers that exist now, for others.
func (n *Names) Terms() *Terms {
	if n.terms == nil {
		n.terms = &Terms{n, n.names}
	}
	return n.terms
}

// from is the translation of another instance's numbers into own ones, long
// enough for all that t has. Where it is 0, see adopt.
func (n *Names) from(t *Terms) []uint32 {
	i := 0
	for i < len(n.senders) && n.senders[i].names != t.sender {
		i++
	}
	if i == len(n.senders) {
		n.senders = append(n.senders, sender{names: t.sender})
	}
	s := &n.senders[i]
	s.own = grow(s.own, len(t.names))
	return s.own
}

// grow lengthens scratch space to at least so many.
func grow[T any](list []T, n int) []T {
	if need := n - len(list); need > 0 {
		list = append(list, make([]T, need+len(list)/4)...)
	}
	return list
}

// Compare orders two numbers by their external ids.
func (n *Names) Compare(a, b uint32) int {
	switch p, q := n.prefix[a], n.prefix[b]; {
	case p < q:
		return -1
	case p > q:
		return 1
	}
	return strings.Compare(n.names[a], n.names[b])
}

// NewRound unmarks all numbers.
func (n *Names) NewRound() {
	n.round++
	if n.round == 0 {
		clear(n.marks)
		n.round = 1
	}
}

// Mark marks a number.
func (n *Names) Mark(id uint32) { n.marks[id] = n.round }

// Marked reports whether a number is marked.
func (n *Names) Marked(id uint32) bool { return n.marks[id] == n.round }
