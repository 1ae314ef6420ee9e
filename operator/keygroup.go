package operator

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// KeyGroups is the fixed number of groups that keys are divided into. A shard
// owns a range of groups, so changing the number of shards moves ranges. It
// bounds the number of shards.
const KeyGroups = 128

// KeyGroup is the group of a key, 0 to KeyGroups-1: the same on every machine
// and in every release.
func KeyGroup[K Key](k K) int { return int(hasher[K]()(k) % KeyGroups) }

func keyHash[K Key](k K) (group int, hash uint64) {
	hash = hasher[K]()(k)
	return int(hash % KeyGroups), hash
}

// hasher is the hash function of keys, the same on every machine and in every
// release.
func hasher[K Key]() func(K) uint64 {
	var f any
	switch any(*new(K)).(type) {
	case string:
		f = xxhash.Sum64String
	case uint64:
		f = mix
	}
	return f.(func(K) uint64)
}

// ShardOf is the shard that owns a key group when there are so many shards.
func ShardOf(group, shards int) int { return group * shards / KeyGroups }

// mix is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// KeyBytes appends a key's stored form: a string as it is, a number as eight
// bytes big-endian, so that stored keys sort like the keys.
func KeyBytes[K Key](dst []byte, k K) []byte {
	switch k := any(k).(type) {
	case string:
		return append(dst, k...)
	case uint64:
		return binary.BigEndian.AppendUint64(dst, k)
	}
	return dst
}

// KeyFrom reads what KeyBytes wrote.
func KeyFrom[K Key](b []byte) (K, bool) {
	var k K
	switch p := any(&k).(type) {
	case *string:
		*p = string(b)
		return k, true
	case *uint64:
		if len(b) != 8 {
			return k, false
		}
		*p = binary.BigEndian.Uint64(b)
		return k, true
	}
	return k, false
}
