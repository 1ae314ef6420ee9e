package rank_test

import (
	"fmt"
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/rank"
	"millrace/view"
)

// distant is the shop's views on another machine: it counts the ways there.
type distant struct {
	*shop
	fetched map[view.Key]bool
	trips   int
}

func (d *distant) Prefetch(keys ...view.Key) {
	missing := false
	for _, k := range keys {
		missing = missing || !d.fetched[k]
		d.fetched[k] = true
	}
	if missing {
		d.trips++
	}
}

func (d *distant) Get(name, key string) (operator.Value, bool) {
	if !d.fetched[view.Key{View: name, Key: key}] {
		d.t.Errorf("%s of %q is read alone", name, key)
	}
	return d.shop.Get(name, key)
}

// TestTwoTrips: whatever is asked for, a list takes two ways to where the views
// are, and no answer is read that was not fetched with one of them.
func TestTwoTrips(t *testing.T) {
	s := movies(t)
	for _, id := range []string{"p", "ann"} {
		s.index.Apply(event.Change{Kind: event.PutUser, User: &event.User{ID: id, Age: 30, Gender: "f"}})
	}
	for i := range 40 {
		s.item(fmt.Sprint("x", i), "", fmt.Sprint("c", i%9))
		s.send(fmt.Sprint("ann x", i, " purchase"), fmt.Sprint("p x", (i*7)%40, " like"))
	}
	for _, q := range []rank.Request{
		{User: "ann"}, {User: "ann", ExcludeSeen: true, N: 500}, {User: "ann", Category: "c3"}, {User: "p", Offset: 30},
		{User: "nobody"}, {Session: []string{"heat", "x1", "x2"}}, {Session: []string{"heat"}, Category: "romance", N: 100},
	} {
		d := &distant{shop: s, fetched: map[view.Key]bool{}}
		if q.N == 0 {
			q.N = 10
		}
		got, err := s.ranker.Recommend(d, s.now, q)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(s.ask(q)) {
			t.Errorf("%+v: %v, %v; want %v", q, got, err, s.ask(q))
		}
		if d.trips > 2 {
			t.Errorf("%+v takes %d trips", q, d.trips)
		}
	}
}
