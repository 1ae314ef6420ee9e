package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/kafkaclient"
	"millrace/source"
)

const (
	// lookEvery is Options.LookEvery where that says nothing.
	lookEvery = 5 * time.Second
	// monitorTimeout is how long it may take to answer.
	monitorTimeout = 5 * time.Second
	// provenAfter is how long a session has to last before the error that ended
	// the one before it is over.
	provenAfter = 3 * time.Second
)

// monitor looks after the brokers, the topics and the lag until ctx ends.
func (s *session) monitor(ctx context.Context) {
	for {
		s.look(ctx)
		if source.Sleep(ctx, s.c.o.LookEvery) != nil {
			return
		}
	}
}

// look asks the cluster once.
func (s *session) look(ctx context.Context) {
	asking, stop := context.WithTimeout(ctx, monitorTimeout)
	defer stop()
	details, err := s.admin.ListTopics(asking, s.c.names...)
	if err == nil {
		err = s.lookAtTopics(asking, details)
	}
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		s.c.status.reach("")
		if s.c.o.Now().Sub(s.began) > provenAfter {
			s.c.status.session("")
		}
		return
	}
	s.c.outage.Store(true)
	if words := s.c.reason(ctx, err); ctx.Err() == nil {
		s.c.status.reach(words)
	}
}

// reason says why brokers do not answer: the client tries again and again,
// which hides it, so that each is asked once.
func (c *Consumer) reason(ctx context.Context, err error) string {
	ctx, stop := context.WithTimeout(ctx, monitorTimeout)
	defer stop()
	if _, direct := kafkaclient.Probe(ctx, c.o.Config.Config, c.names...); direct != nil {
		return c.o.Config.Words(direct)
	}
	return c.o.Config.Words(err)
}

// lookAtTopics notes which topics are missing, partitions that are new, and how
// far each partition goes.
func (s *session) lookAtTopics(ctx context.Context, details kadm.TopicDetails) error {
	var missing, there []string
	optional := true // all that are missing
	for _, name := range s.c.names {
		d, ok := details[name]
		switch {
		case ok && errors.Is(d.Err, kerr.TopicAuthorizationFailed):
			s.c.status.access(name, fmt.Sprintf("topic %s: %s", name, s.c.o.Config.Words(d.Err)))
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			missing = append(missing, name)
			optional = optional && s.c.topics[name].optional
		case d.Err == nil:
			there = append(there, name)
			s.c.status.access(name, "")
		}
	}
	switch {
	case len(missing) > 0 && optional && len(there) == 0:
		s.c.status.missing(fmt.Sprintf("none of the topics that are read by default is there (%s): create one, or name yours in kafka.topics; each is read as soon as it is there",
			strings.Join(missing, ", ")))
	case len(missing) > 0 && !optional:
		s.c.status.missing(fmt.Sprintf("there is no topic %s: create it, or correct kafka.topics; it is read as soon as it is there", strings.Join(missing, ", ")))
	default:
		s.c.status.missing("")
	}
	if len(there) == 0 {
		return nil
	}
	if s.grown(details) {
		s.client.ForceMetadataRefresh() // the group is to share them at once
	}
	if s.c.o.Config.Assignment == AssignFixed {
		if err := s.assignFixed(ctx); err != nil {
			return err
		}
	}
	end, err := s.admin.ListEndOffsets(ctx, there...)
	if err != nil {
		return err
	}
	end.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset >= 0 {
			s.c.status.end(Source(o.Topic, o.Partition), uint64(o.Offset))
		}
	})
	return nil
}

// grown reports whether there are partitions that were not there the last time.
func (s *session) grown(details kadm.TopicDetails) bool {
	n := 0
	for _, d := range details {
		n += len(d.Partitions)
	}
	before := s.seen
	s.seen = n
	return n > before && before > 0
}
