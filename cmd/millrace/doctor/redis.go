package doctor

import (
	"context"
	"strings"
	"time"

	"millrace/view/redis"
)

// Redis checks the server or the cluster that views are kept in.
func Redis(c redis.Config) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "redis"}
		subject := strings.Join(c.Addresses, ", ")
		grave := false
		for _, f := range redis.Diagnose(ctx, c) {
			state := Warning
			if f.Grave {
				state, grave = Failed, true
			}
			s.say(state, subject, "%s", f.Text)
		}
		if grave {
			return s.list
		}
		s.redisClock(ctx, subject, c)
		if len(s.list) == 0 {
			s.say(OK, subject, "answers, and takes writes under the prefix %s", c.Prefix)
		}
		return s.list
	}
}

// redisClock compares the server's clock, by which leases run out.
func (s *scribe) redisClock(ctx context.Context, subject string, c redis.Config) {
	client, err := redis.NewClient(c, nil)
	if err != nil {
		return // said before
	}
	defer func() { _ = client.Close() }()
	// The first question makes the connection, the second is answered at once.
	if _, err := client.Time(ctx); err != nil {
		s.say(Warning, subject, "its clock can not be read: %v", err)
		return
	}
	before := time.Now()
	if theirs, err := client.Time(ctx); err == nil {
		s.clock(subject, theirs, before, time.Now())
	}
}
