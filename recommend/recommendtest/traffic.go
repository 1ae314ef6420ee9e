package recommendtest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"millrace/event"
)

// Shop says what synthetic traffic is like.
type Shop struct {
	Users, Items int
	PerSecond    float64 // events a second of event time, over all users
	Seed         uint64
}

var (
	genres = []string{"Drama", "Comedy", "Action", "Thriller", "Romance", "Horror", "Sci-Fi", "War", "Western", "Musical",
		"Crime", "Fantasy", "Mystery", "Animation", "Adventure", "Children", "Documentary", "Film-Noir"}
	types = []string{event.TypeView, event.TypeView, event.TypeView, event.TypeClick, event.TypeLike, event.TypeCart,
		event.TypePurchase, event.TypeImpression}
)

// Events makes n events in the order in which they arrive, up to 5 seconds
// out of order. Users come in sessions of about 15 events, half a minute
// apart; items are popular by Zipf's law (exponent 1), and nine of ten events
// of a session stay among the neighbours of its first item.
func (s Shop) Events(n int) []event.Enriched {
	random := rand.New(rand.NewPCG(s.Seed, 1))
	items, users := s.catalogue(random)
	cumulated := make([]float64, s.Items)
	sum := 0.0
	for i := range cumulated {
		sum += 1 / float64(i+1)
		cumulated[i] = sum
	}
	draw := func() int { // the inverse of H(k) ~ ln k
		k := int(math.Exp(random.Float64()*math.Log(float64(s.Items)))) - 1
		return min(max(k, 0), s.Items-1)
	}
	type visit struct{ user, around, left int }
	visits := make([]visit, max(1, int(30*s.PerSecond)))
	list := make([]event.Enriched, n)
	for i := range list {
		v := &visits[random.IntN(len(visits))]
		if v.left == 0 {
			*v = visit{random.IntN(s.Users), draw(), 1 + random.IntN(30)}
		}
		v.left--
		item := (v.around + int(random.NormFloat64()*20) + s.Items) % s.Items
		if random.IntN(10) == 0 {
			item = draw()
		}
		at := event.Time(1_700_000_000_000 + float64(i)/s.PerSecond*1000 - random.Float64()*5000)
		list[i] = event.Enriched{
			Event:    event.Event{Time: at, User: users[v.user].ID, Item: items[item].ID, Type: types[random.IntN(len(types))]},
			ItemInfo: items[item], UserInfo: users[v.user],
		}
	}
	return list
}

func (s Shop) catalogue(random *rand.Rand) (items []*event.Item, users []*event.User) {
	for i := range s.Items {
		item := &event.Item{ID: fmt.Sprintf("item-%d", i)}
		for range 1 + random.IntN(3) {
			item.Categories = append(item.Categories, genres[random.IntN(len(genres))])
		}
		items = append(items, item)
	}
	for i := range s.Users {
		users = append(users, &event.User{
			ID: fmt.Sprintf("user-%d", i), Age: 10 + random.IntN(60), Gender: []string{"f", "m"}[random.IntN(2)],
		})
	}
	return items, users
}
