package rank

import (
	"math"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
)

// explore reserves a share of the places for items that are there only
// because they are new: the last place of every 1/share takes one, as long as
// there are any; turn says with which one to begin. The others keep their
// order, and new items without a place come after them. Without it, an item
// that nobody has seen could never be seen.
func explore(list []scored, share float64, turn uint64) []scored {
	if share <= 0 || share > 1 {
		return list
	}
	every := int(math.Round(1 / share))
	var fresh, others []scored
	for _, s := range list {
		if s.isNew {
			fresh = append(fresh, s)
		} else {
			others = append(others, s)
		}
	}
	if len(fresh) == 0 || len(others) == 0 {
		return list
	}
	first := int(turn % uint64(len(fresh)))
	out := list[:0]
	f, o := 0, 0
	for len(out) < cap(list) && f+o < len(fresh)+len(others) {
		place := len(out) + 1
		if o == len(others) || place%every == 0 && f < len(fresh) {
			out = append(out, fresh[(first+f)%len(fresh)])
			f++
		} else {
			out = append(out, others[o])
			o++
		}
	}
	return out
}

// turn spreads exploration: another user, or another hour of the stream,
// begins with another new item, and a replay with the same one.
func turn(q Request, streamTime event.Time) uint64 {
	who := q.User
	if who == "" && len(q.Session) > 0 {
		who = q.Session[0]
	}
	return xxhash.Sum64String(who) + uint64(streamTime/event.Hour)
}
