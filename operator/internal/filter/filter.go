// Package filter has a Bloom filter that grows.
package filter

import "millrace/internal/splitmix"

// Filter remembers the hashes of keys, and now and then one that it was never
// told of: a Bloom filter whose probes for a key lie in one cache line (Putze,
// Sanders, Singler 2007), in generations that double.
type Filter struct {
	generations []generation
}

type generation struct {
	lines [][8]uint64 // a power of two
	room  int         // keys that still fit
}

const (
	filterBits   = 12 // a key
	filterProbes = 6
	leastLines   = 1 << 8
)

// Add remembers a hash.
func (f *Filter) Add(hash uint64) {
	n := len(f.generations)
	if n == 0 || f.generations[n-1].room == 0 {
		lines := leastLines
		if n > 0 {
			lines = 2 * len(f.generations[n-1].lines)
		}
		f.generations = append(f.generations, generation{make([][8]uint64, lines), lines * 512 / filterBits})
		n++
	}
	g := &f.generations[n-1]
	line := g.line(hash)
	probes := splitmix.Mix(hash)
	for range filterProbes {
		line[probes>>6&7] |= 1 << (probes & 63)
		probes >>= 9
	}
	g.room--
}

func (g *generation) line(hash uint64) *[8]uint64 { return &g.lines[hash>>20&uint64(len(g.lines)-1)] }

// Has is false for a hash that was never added.
func (f *Filter) Has(hash uint64) bool {
	for i := range f.generations {
		line, found := f.generations[i].line(hash), true
		for n, probes := 0, splitmix.Mix(hash); n < filterProbes && found; n++ {
			found = line[probes>>6&7]&(1<<(probes&63)) != 0
			probes >>= 9
		}
		if found {
			return true
		}
	}
	return false
}

// Bytes is how much memory the filter takes.
func (f *Filter) Bytes() (n int64) {
	for i := range f.generations {
		n += int64(len(f.generations[i].lines)) * 64
	}
	return n
}
