package watermark

import (
	"millrace/event"
	"millrace/event/wire"
)

// Named is a Combined whose partitions have names and are added when they are
// first met.
type Named struct {
	*Combined
	strategy func(name string) Strategy
	names    []string
	numbers  map[string]int
}

// NewNamed makes the watermark of partitions that are still to be met, each with
// a strategy that is made for its name.
func NewNamed(idleTimeout event.Duration, strategy func(name string) Strategy) *Named {
	return &Named{Combined: NewCombined(0, idleTimeout, nil), strategy: strategy, numbers: map[string]int{}}
}

// Number is the number of a partition, which is added if it is new.
func (n *Named) Number(name string) int {
	i, ok := n.numbers[name]
	if !ok {
		i = n.Add(n.strategy(name))
		n.numbers[name] = i
		n.names = append(n.names, name)
	}
	return i
}

// Find is the number of a partition, if it was met.
func (n *Named) Find(name string) (number int, known bool) {
	number, known = n.numbers[name]
	return number, known
}

// AppendTo appends the names and the state of all partitions:
//
//	version, count uvarint, the names, the Combined
func (n *Named) AppendTo(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = wire.AppendUvarint(dst, uint64(len(n.names)))
	for _, name := range n.names {
		dst = wire.AppendString(dst, name)
	}
	return n.Combined.AppendTo(dst)
}

// Load reads what AppendTo wrote into a Named that has met no partition. After
// an error it must not be used.
func (n *Named) Load(r *wire.Reader) error {
	checkVersion(r)
	for range r.Count() {
		if name := r.String(); r.Err() == nil {
			n.Number(name)
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	return n.Combined.Load(r)
}
