package memory

import (
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v4"

	"millrace/operator"
)

// table is one view.
type table struct {
	cells *xsync.Map[string, *cell]
	live  atomic.Int64 // keys with a value, as of the published version
	delta int64        // what the version being written adds to live; the writer's
}

// cell is a key's place in a table: its values, the newest first. The fields
// below newest are the writer's; version and gone repeat what the newest node
// says, to spare the writer a cache miss.
type cell struct {
	newest  atomic.Pointer[node]
	table   *table
	key     string
	version uint64
	gone    bool // the newest value is nil
	waiting bool // listed in Store.waiting
}

// node is a key's value from one version on, until the version of the node
// before it in the chain. A nil value says that the key was deleted.
//
// The writer may change the value of a node whose version is not published:
// readers, whose version is lower, do not look at it.
type node struct {
	version uint64
	value   operator.Value
	older   atomic.Pointer[node]
}

// at is the value that a version sees, nil if the key has none.
func (c *cell) at(version uint64) operator.Value {
	for n := c.newest.Load(); n != nil; n = n.older.Load() {
		if n.version <= version {
			return n.value
		}
	}
	return nil
}

// put sets the value from a version on that is not yet published.
func (c *cell) put(version uint64, value operator.Value) {
	if last := c.newest.Load(); c.version == version {
		last.value = value
	} else {
		n := &node{version: version, value: value}
		n.older.Store(last)
		c.newest.Store(n)
		c.version = version
	}
	if gone := value == nil; gone != c.gone {
		c.gone = gone
		if gone {
			c.table.delta--
		} else {
			c.table.delta++
		}
	}
}

// trim takes out the nodes that no version in active (the newest first, all
// below the published one) sees. It returns the oldest version that still
// needs a node other than the newest, 0 if none does.
//
// A reader may stand on a node that is taken out. The node's older pointer is
// left alone, and led to everything that open snapshots need when it was cut,
// so the reader finds its way.
func (c *cell) trim(active []uint64) (needs uint64) {
	kept := c.newest.Load()
	for {
		for len(active) > 0 && active[0] >= kept.version {
			active = active[1:]
		}
		next := kept.older.Load()
		if next == nil {
			return needs
		}
		seen := next
		if len(active) == 0 {
			seen = nil
		}
		for seen != nil && seen.version > active[0] {
			seen = seen.older.Load()
		}
		if seen != next {
			kept.older.Store(seen)
		}
		if seen == nil {
			return needs
		}
		kept, needs = seen, active[0]
	}
}
