package flink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/operator"
	"millrace/recommend"
	"millrace/view/redis"
)

// answers are all answers of a side in Redis, by view and key.
func (s *shop) answers(ctx context.Context, side string) (map[string]string, error) {
	c := redis.DefaultConfig()
	c.Addresses, c.Prefix = []string{s.redis.Address}, side
	client, err := redis.NewClient(c, recommend.Views())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	all := map[string]string{}
	for _, name := range recommend.Views().Names() {
		err = errors.Join(err, client.Each(ctx, name, func(key string, v operator.Value) error {
			b, err := v.AppendBinary(nil)
			all[name+" "+key] = string(b)
			return err
		}))
	}
	return all, err
}

// letters demands that each record that is no event is a dead letter of Flink's
// once. (The server's topic of dead letters may miss some while a broker is away;
// its log has them.)
func (s *shop) letters() {
	s.t.Helper()
	s.until("dead letters", 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
		defer cancel()
		records, err := s.committed(ctx, "flink.dead")
		if err != nil {
			return err
		}
		got := map[string]string{}
		for _, r := range records {
			var l struct {
				Topic             string
				Partition, Offset int64
			}
			if err := json.Unmarshal(r.Value, &l); err != nil {
				return err
			}
			got[fmt.Sprintf("%s %d %d", l.Topic, l.Partition, l.Offset)] += "x"
		}
		return difference(s.bad, got)
	})
}

// publications are how often each result of a side is in its topics, as readers
// of what is committed see them.
func (s *shop) publications(ctx context.Context, side string) (map[string]string, error) {
	topics, err := s.broker.Admin().ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range topics.Names() {
		if strings.HasPrefix(name, side+".") && name != side+".dead" {
			names = append(names, name)
		}
	}
	all := map[string]string{}
	records, err := s.committed(ctx, names...)
	for _, r := range records {
		all[strings.TrimPrefix(r.Topic, side+".")+" "+string(r.Key)+" "+string(r.Value)] += "x"
	}
	return all, err
}

// committed are the records of topics up to the first that is not decided.
func (s *shop) committed(ctx context.Context, names ...string) ([]*kgo.Record, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ends, err := s.broker.Admin().ListCommittedOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Address), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(names...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	left := map[string]int64{} // the last offset that is to be read
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[fmt.Sprint(o.Topic, "/", o.Partition)] = o.Offset - 1
		}
	})
	var list []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			partition := fmt.Sprint(r.Topic, "/", r.Partition)
			if last, ok := left[partition]; ok && r.Offset >= last {
				delete(left, partition)
			}
			if !r.Attrs.IsControl() {
				list = append(list, r)
			}
		})
	}
	return list, nil
}

// equal waits until both sides have come to the same.
func (s *shop) equal(what string, of func(context.Context, string) (map[string]string, error)) {
	s.t.Helper()
	s.until(what+" are equal", 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
		defer cancel()
		want, err := of(ctx, embeddedSide)
		if err != nil {
			return err
		}
		got, err := of(ctx, flinkSide)
		if err != nil {
			return err
		}
		if err := difference(want, got); err != nil {
			return err
		}
		kinds := map[string]int{}
		for key := range want {
			kinds[strings.SplitN(key, " ", 2)[0]]++
		}
		s.t.Logf("%s: %d, %v", what, len(want), kinds)
		if len(want) == 0 {
			return errNotYet
		}
		return nil
	})
}

// difference says what differs, the first few of it.
func difference(want, got map[string]string) error {
	var list []string
	kinds := map[string]int{}
	note := func(key, format string, args ...any) {
		kind := strings.SplitN(key, " ", 2)[0]
		if kinds[kind]++; kinds[kind] <= 2 {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[key]; !ok {
			note(key, "missing: %q", key)
		} else if g != want[key] {
			note(key, "%q:\n got %q\nwant %q", key, g, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			note(key, "too many: %q", key)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("of %d and %d differ %v:\n%s", len(want), len(got), kinds, strings.Join(list, "\n"))
}

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

// sameAnswers demands that servers in front of the two sides answer alike.
func (s *shop) sameAnswers(side string) {
	s.t.Helper()
	var paths []string
	for u := range shopUsers {
		paths = append(paths, fmt.Sprintf("/v1/users/u%d/recommendations?n=20&explain=true", u+1), fmt.Sprintf("/v1/users/u%d/profile", u+1))
	}
	for i := range shopItems {
		paths = append(paths, fmt.Sprintf("/v1/items/i%d/neighbors?n=100", i+1))
	}
	for _, half := range []string{"1h", "1d", "7d", "30d"} {
		paths = append(paths, "/v1/trending?n=100&half_life="+half)
	}
	s.until("answers over HTTP are equal", 20*time.Second, func() error {
		for _, path := range paths {
			want, err := get(s.embedded + path)
			if err != nil {
				return err
			}
			got, err := get(side + path)
			if err != nil {
				return err
			}
			if requestIDs.ReplaceAllString(got, "") != requestIDs.ReplaceAllString(want, "") {
				return fmt.Errorf("%s:\nfront    %s\nembedded %s", path, got, want)
			}
		}
		return nil
	})
}
