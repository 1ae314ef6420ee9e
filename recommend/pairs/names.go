package pairs

import "millrace/recommend/names"

// Names are the numbers of an instance's ids, and what goes with them.
type Names struct {
	*names.Table
	terms *Terms // of now, nil if there is a new number since

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
func NewNames() *Names { return &Names{Table: names.New()} }

// Terms are the numbers that exist now, for others.
func (n *Names) Terms() *Terms {
	if n.terms == nil || len(n.terms.names) < n.Len() {
		n.terms = &Terms{n, n.Names()}
	}
	return n.terms
}

// from is the translation of another instance's numbers into own ones, long
// enough for all that t has. Where it is 0, the id has no number here yet.
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

// NewRound unmarks all numbers.
func (n *Names) NewRound() {
	n.marks = grow(n.marks, n.Len())
	n.round++
	if n.round == 0 {
		clear(n.marks)
		n.round = 1
	}
}

// Mark marks a number that existed when the round began.
func (n *Names) Mark(id uint32) { n.marks[id] = n.round }

// Marked reports whether a number is marked.
func (n *Names) Marked(id uint32) bool { return n.marks[id] == n.round }
