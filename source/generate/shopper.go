package generate

import "millrace/event"

// crowd derives shoppers from their number, 0 to Config.Users-1; none is kept.
type crowd struct{ cfg Config }

// shopper is a user with tastes as they are at one moment.
type shopper struct {
	id         string
	seed       uint64
	favourites [3]int // categories, the dearest first; may repeat
}

// tasteLives are how long a shopper keeps each favourite category.
var tasteLives = [3]event.Duration{80 * event.Day, 40 * event.Day, 20 * event.Day}

func (c *crowd) seed(number int) uint64 { return derive(c.cfg.Seed, saltPerson, uint64(number)) }

// user is the catalogue's record of a shopper.
func (c *crowd) user(number int) event.User {
	seed := c.seed(number)
	user := event.User{
		ID: numbered("u", uint64(number)+1),
		// Two dice: most are around 45, few are 16 or 74.
		Age: 16 + scale(mix(seed, 1), 30) + scale(mix(seed, 2), 30),
	}
	switch sort := scale(mix(seed, 3), 100); {
	case sort < 48:
		user.Gender = "f"
	case sort < 96:
		user.Gender = "m"
	}
	return user
}

// shopper is who visits at that moment. Tastes drift: each favourite is
// replaced once in its life, at another moment for every shopper.
func (c *crowd) shopper(number int, now event.Time) shopper {
	user := c.user(number)
	s := shopper{id: user.ID, seed: c.seed(number)}
	cohort := uint64(user.Age/10)<<8 | uint64(len(user.Gender))
	if user.Gender == "f" {
		cohort |= 2
	}
	for rank, life := range tasteLives {
		phase := event.Duration(scale(derive(s.seed, saltPhase, uint64(rank)), int(life)))
		epoch := uint64(event.WindowStart(now+phase, life) / life)
		taste := derive(s.seed, saltTaste, uint64(rank), epoch)
		if taste%5 < 2 { // what people of that age and gender like
			taste = derive(c.cfg.Seed, saltTaste, cohort, taste>>8%3)
		}
		s.favourites[rank] = scale(mix(taste, 1), c.cfg.Categories)
	}
	return s
}

// likes is how much more than another the shopper wants what a slot sells, in
// percent.
func (s *shopper) likes(sh *shop, slot int32) int {
	liking := 55
	category := sh.categoryOf(slot)
	for rank, favourite := range s.favourites {
		if favourite == category {
			liking = 150 - 10*rank
			break
		}
	}
	if _, style := sh.kind(slot); derive(s.seed, saltStyle, uint64(style))%4 == 0 {
		return liking * 140 / 100
	}
	return liking * 90 / 100
}

// staple is a slot of the favourite category that the shopper returns to.
func (s *shopper) staple(sh *shop, which uint64) int32 {
	return sh.popular(derive(s.seed, saltStaple, which), s.favourites[0])
}
