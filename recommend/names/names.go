// Package names gives external ids small numbers, so that what an operator
// keeps of many ids takes four bytes each and no pointers: memory that the
// garbage collector need not look through.
package names

import (
	"encoding/binary"
	"strings"

	"millrace/event"
)

// Table numbers external ids, from 1. The numbers are the private business of
// one operator instance: they depend on the order in which ids were seen, so
// nothing that leaves the instance is ordered by them or contains them. An id
// takes about 80 bytes and stays. The zero value is not usable; see New.
type Table struct {
	ids    map[string]uint32
	names  []string
	hashes []uint64 // of names
	prefix []uint64 // the first eight bytes of a name, for comparing
}

// New makes an empty table.
func New() *Table {
	return &Table{ids: map[string]uint32{}, names: []string{""}, hashes: []uint64{0}, prefix: []uint64{0}}
}

// ID is the number of an external id, a new one if it was not seen before.
func (t *Table) ID(name string) uint32 {
	if id, ok := t.ids[name]; ok {
		return id
	}
	return t.add(name)
}

// IDOf is ID of the bytes of an external id, which it does not keep.
func (t *Table) IDOf(name []byte) uint32 {
	if id, ok := t.ids[string(name)]; ok {
		return id
	}
	return t.add(string(name))
}

func (t *Table) add(name string) uint32 {
	id := uint32(len(t.names))
	t.ids[name] = id
	t.names = append(t.names, name)
	t.hashes = append(t.hashes, event.HashID(name))
	var first [8]byte
	copy(first[:], name)
	t.prefix = append(t.prefix, binary.BigEndian.Uint64(first[:]))
	return id
}

// Len is one more than the largest number.
func (t *Table) Len() int { return len(t.names) }

// Name is the external id of a number.
func (t *Table) Name(id uint32) string { return t.names[id] }

// Hash is event.HashID of the external id of a number.
func (t *Table) Hash(id uint32) uint64 { return t.hashes[id] }

// Names are the external ids by number. Numbers that exist now keep their
// place in it for good, so that others may read it while ids are added.
func (t *Table) Names() []string { return t.names }

// Hashes are event.HashID of Names, to be read likewise.
func (t *Table) Hashes() []uint64 { return t.hashes }

// Compare orders two numbers by their external ids.
func (t *Table) Compare(a, b uint32) int {
	switch p, q := t.prefix[a], t.prefix[b]; {
	case p < q:
		return -1
	case p > q:
		return 1
	}
	return strings.Compare(t.names[a], t.names[b])
}
