package reference

import (
	"math"
	"unsafe"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// counter is the operator of J1.
type counter struct{ counts *operator.Output[userCount] }

// Fold counts.
func (o *counter) Fold(c *operator.Context, user uint64, s *uint64, _ *Event) {
	*s++
	o.counts.Emit(c.Time, userCount{user, *s})
}

// Timer is never called.
func (*counter) Timer(*operator.Context, uint64, *uint64, event.Time) {}

// Append writes the count.
func (*counter) Append(dst []byte, s *uint64) []byte { return wire.AppendUvarint(dst, *s) }

// Load reads it.
func (*counter) Load(_ uint8, src []byte, s *uint64) error {
	r := wire.NewReader(src)
	*s = r.Uvarint()
	return r.Err()
}

// interest is how strong a user's interest in a category is.
type interest struct {
	score    float64
	category uint32
}

func (i interest) bits() uint64 { return math.Float64bits(i.score) }

// weights are what events of each type are worth.
var weights = [...]float64{View: 0.1, Click: 0.3, Like: 0.5, Purchase: 1.0}

// profiler is the operator of J4. Its state are the interests, the strongest
// first, those of equal strength by category.
type profiler struct{ profiles *operator.Output[profile] }

// Fold moves the interest in the event's category towards the event's weight.
// Both products are rounded before they are added.
func (o *profiler) Fold(c *operator.Context, user uint64, s *[]interest, in *Event) {
	category, weight := in.Item%categories, weights[in.Type]
	list := *s
	at := 0
	for at < len(list) && list[at].category != category {
		at++
	}
	if at == len(list) {
		list = append(list, interest{category: category})
		*s = list
	}
	now := interest{float64(0.9*list[at].score) + float64(0.1*weight), category}
	for ; at > 0 && now.before(list[at-1]); at-- {
		list[at] = list[at-1]
	}
	for ; at+1 < len(list) && list[at+1].before(now); at++ {
		list[at] = list[at+1]
	}
	list[at] = now
	row := profile{user: user, time: c.Time}
	row.n = copy(row.top[:], list)
	o.profiles.Emit(c.Time, row)
}

// Warm is the list of interests.
func (*profiler) Warm(s *[]interest) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(*s)) }

// before reports whether an interest comes before another in a profile.
func (i interest) before(j interest) bool {
	return i.score > j.score || i.score == j.score && i.category < j.category
}

// Timer is never called.
func (*profiler) Timer(*operator.Context, uint64, *[]interest, event.Time) {}

// Append writes the interests in their order.
func (*profiler) Append(dst []byte, s *[]interest) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(*s)))
	for _, i := range *s {
		dst = wire.AppendFloat64(wire.AppendUvarint(dst, uint64(i.category)), i.score)
	}
	return dst
}

// Load reads them.
func (*profiler) Load(_ uint8, src []byte, s *[]interest) error {
	r := wire.NewReader(src)
	for range r.Count() {
		category := uint32(r.Uvarint())
		*s = append(*s, interest{r.Float64(), category})
	}
	return r.Err()
}
