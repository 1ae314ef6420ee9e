package reference

import (
	"slices"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

// Watermarks is the strategy of the generator's partitions.
func Watermarks() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(maxDelay) }

// Names are the jobs, in order.
func Names() []string { return []string{"J1", "J2", "J3", "J4", "J5", "J6"} }

// Topology is that of a job, nil for a name that is none.
func Topology(name string) *operator.Topology {
	build := map[string]func(operator.Stream[Event]){
		"J1": countUsers, "J2": countPairs, "J3": clickRates, "J4": profiles, "J5": userStatistics, "J6": userSessions,
	}[name]
	if build == nil {
		return nil
	}
	t, source := operator.NewTopology[Event]()
	build(source)
	return t
}

func user(e *Event) uint64 { return e.User }

// userCount is a row of J1.
type userCount struct{ user, count uint64 }

// countUsers is J1: the running count of each user's events.
func countUsers(source operator.Stream[Event]) {
	counts := operator.Add(source, operator.Stage[uint64, uint64, Event]{
		Name: "count", Subject: operator.SubjectUser, Version: 1, Key: user,
		New: func(p *operator.Ports) operator.Operator[uint64, uint64, Event] {
			return &counter{counts: operator.Out[userCount](p, "counts")}
		},
	})
	sink(operator.From[userCount](counts, "counts"), func(r *userCount) uint64 {
		return Hash(Hash(1, r.user), r.count)
	})
}

// profile is a row of J4: the first n of top are a user's strongest interests.
type profile struct {
	user uint64
	time event.Time
	n    int
	top  [topInterests]interest
}

const topInterests = 5

// profiles is J4: each user's interests in categories, and the strongest five
// after every event.
func profiles(source operator.Stream[Event]) {
	h := operator.Add(source, operator.Stage[uint64, []interest, Event]{
		Name: "profile", Subject: operator.SubjectUser, Version: 1, Key: user,
		TTL: &operator.TTL{After: 24 * event.Hour},
		New: func(p *operator.Ports) operator.Operator[uint64, []interest, Event] {
			return &profiler{profiles: operator.Out[profile](p, "profiles")}
		},
	})
	sink(operator.From[profile](h, "profiles"), func(r *profile) uint64 {
		x := Hash(Hash(4, r.user), uint64(r.time))
		for _, i := range r.top[:r.n] {
			x = Hash(Hash(x, uint64(i.category)), i.bits())
		}
		return x
	})
}

// pair is a part of J2: two items that a user has viewed in one window.
type pair uint64

func pairOf(a, b uint32) pair { return pair(a)<<32 | pair(b) }

// insertSorted adds an item to a sorted set.
func insertSorted(set []uint32, item uint32) []uint32 {
	if i, found := slices.BinarySearch(set, item); !found {
		return slices.Insert(set, i, item)
	}
	return set
}
