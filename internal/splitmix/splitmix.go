// Package splitmix is the hash of numbers that everything here agrees on: key
// groups and generators are defined by it, so it never changes.
package splitmix

// Gamma is the increment of SplitMix64.
const Gamma = 0x9E3779B97F4A7C15

// Mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection
// whose every output bit depends on every input bit.
func Mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}
