package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/eventlog"
)

// want are partitions by topic.
type want map[string][]int32

// offsets are where partitions are to be read from.
type offsets = map[string]map[int32]kgo.Offset

// adjust says where the partitions are read from that the group has given: where
// the log is, whatever the group has committed.
func (s *session) adjust(ctx context.Context, given offsets) (offsets, error) {
	select {
	case <-s.made:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w := want{}
	for topic, partitions := range given {
		for id := range partitions {
			w[topic] = append(w[topic], id)
		}
	}
	from, err := s.begin(ctx, w)
	if err != nil && ctx.Err() == nil && s.alive.Err() == nil {
		s.c.status.session(s.c.o.Config.Words(err))
	}
	return from, err
}

// assignFixed begins with the configured partitions that there are and that are
// not read yet.
func (s *session) assignFixed(ctx context.Context) error {
	details, err := s.admin.ListTopics(ctx, s.c.names...)
	if err != nil {
		return err
	}
	w := want{}
	s.mu.Lock()
	for name, t := range s.c.topics {
		for id := range details[name].Partitions {
			read := len(t.Partitions) == 0 || slices.Contains(t.Partitions, id)
			if _, has := s.assigned[Source(name, id)]; read && !has && !s.c.status.isLost(Source(name, id)) {
				w[name] = append(w[name], id)
			}
		}
	}
	s.mu.Unlock()
	if len(w) == 0 {
		return nil
	}
	from, err := s.begin(ctx, w)
	if err != nil {
		return err
	}
	s.client.AddConsumePartitions(from)
	return nil
}

// extents is what a cluster says of topics.
type extents struct {
	details    kadm.TopicDetails
	start, end kadm.ListedOffsets
}

func (s *session) extents(ctx context.Context, w want) (extents, error) {
	var names []string
	for name := range w {
		names = append(names, name)
	}
	var e extents
	var errs [3]error
	e.details, errs[0] = s.admin.ListTopics(ctx, names...)
	e.start, errs[1] = s.admin.ListStartOffsets(ctx, names...)
	e.end, errs[2] = s.admin.ListEndOffsets(ctx, names...)
	return e, errors.Join(errs[:]...)
}

// begin decides where partitions are read from, and has the log know it before
// any of them is read. Those that can not be gone on with are left out.
func (s *session) begin(ctx context.Context, w want) (offsets, error) {
	if len(w) == 0 {
		return offsets{}, nil
	}
	ctx, leave, ok := s.enter(ctx)
	if !ok {
		return nil, context.Canceled
	}
	defer leave()
	e, err := s.extents(ctx, w)
	if err != nil {
		return nil, err
	}
	from := offsets{}
	var begun []*beginning
	for name, ids := range w {
		for _, id := range ids {
			b, err := s.beginning(ctx, &e, name, id)
			if err != nil {
				return nil, err
			}
			if b == nil {
				continue
			}
			begun = append(begun, b)
			if from[name] == nil {
				from[name] = map[int32]kgo.Offset{}
			}
			from[name][id] = kgo.NewOffset().At(int64(b.at))
		}
	}
	slices.SortFunc(begun, func(a, b *beginning) int { return int(a.id - b.id) })
	if err := s.announce(ctx, begun); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range begun {
		p := &partition{topic: s.c.topics[b.topic], id: b.id, source: Source(b.topic, b.id), durable: b.at}
		s.assigned[p.source], s.next[p.source] = p, b.at
		s.c.status.begin(p, b.at)
	}
	return from, nil
}

// beginning is where a partition is read from.
type beginning struct {
	topic    string
	id       int32
	at       uint64
	identity uint64 // of the topic, 0 if the cluster has none
}

// announce has the log know where partitions begin and that their records are
// to come, and returns when that is durable.
func (s *session) announce(ctx context.Context, list []*beginning) error {
	var tickets []*eventlog.Ticket
	for _, b := range list {
		source := Source(b.topic, b.id)
		batch := eventlog.Batch{
			Kind: eventlog.Events, Partition: source, Positions: []eventlog.Position{{Source: source, Next: b.at}},
		}
		if b.identity != 0 {
			batch.Positions = append(batch.Positions, eventlog.Position{Source: identity(b.topic), Next: b.identity})
		}
		t, err := s.submit(ctx, batch)
		if err != nil {
			return err
		}
		tickets = append(tickets, t)
	}
	for _, t := range tickets {
		if err := t.Err(); err != nil {
			return fmt.Errorf("the event log: %w", err)
		}
	}
	return nil
}

// beginning decides on one partition: where the log is comes first. It is nil
// for one that can not be gone on with, which Status tells.
func (s *session) beginning(ctx context.Context, e *extents, name string, id int32) (*beginning, error) {
	start, err := listed(e.start, name, id)
	if err != nil {
		return nil, err
	}
	end, err := listed(e.end, name, id)
	if err != nil {
		return nil, err
	}
	b := &beginning{topic: name, id: id, identity: number(e.details[name].ID)}
	at, known := s.position(Source(name, id))
	if !known {
		b.at, err = s.first(ctx, e, name, id)
		return b, err
	}
	was, identified := s.c.o.Position(identity(name))
	var why string
	switch {
	case identified && b.identity != 0 && was != b.identity:
		why = fmt.Sprintf("topic %s was deleted and made anew: what is in it now is not what the log goes on from, at offset %d", name, at)
	case at > end:
		why = fmt.Sprintf("the log goes on from offset %d of %s, partition %d, which ends at %d: records were lost, or the topic was made anew", at, name, id, end)
	case at < start:
		why = fmt.Sprintf("the log goes on from offset %d of %s, partition %d, which begins at %d: %d records were deleted before they were read (see the topic's retention)", at, name, id, start, start-at)
	}
	if why == "" {
		b.at = at
		return b, nil
	}
	switch s.c.o.Config.WhenLost {
	case StartEarliest:
		b.at = start
	case StartLatest:
		b.at = end
	default:
		s.c.status.lost(Source(name, id), why+"; kafka.when_lost says whether to go on with what is there (earliest, latest)")
		return nil, nil
	}
	s.c.letters.forget(Source(name, id))
	s.c.o.Logger.Error("kafka: going on as kafka.when_lost says", "because", why, "offset", b.at)
	return b, nil
}

// position is how far a partition was handed over, or is in the log.
func (s *session) position(source string) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next, ok := s.next[source]; ok {
		return next, true
	}
	return s.c.o.Position(source)
}

// first is where a partition begins that the log knows nothing of. One that was
// added to a topic which is being read has only records from since then, and is
// read from its beginning.
func (s *session) first(ctx context.Context, e *extents, name string, id int32) (uint64, error) {
	start, err := listed(e.start, name, id)
	if err != nil {
		return 0, err
	}
	for other := range e.details[name].Partitions {
		if _, known := s.c.o.Position(Source(name, other)); known {
			return start, nil
		}
	}
	config := &s.c.o.Config
	switch config.Start {
	case StartEarliest:
		return start, nil
	case StartLatest:
		return listed(e.end, name, id)
	case StartStored:
		stored, err := s.admin.FetchOffsetsForTopics(ctx, config.Group, name)
		if errors.Is(err, kerr.GroupIDNotFound) { // it has committed nothing yet
			return start, nil
		}
		if err != nil {
			return 0, err
		}
		o, ok := stored.Lookup(name, id)
		if ok && o.Err != nil {
			return 0, o.Err
		}
		if !ok || o.At < 0 {
			return start, nil
		}
		return max(start, uint64(o.At)), nil
	}
	at, _ := config.startTime()
	after, err := s.admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), name)
	if err != nil {
		return 0, err
	}
	return listed(after, name, id)
}

// listed is an offset that a cluster was asked for.
func listed(l kadm.ListedOffsets, topic string, id int32) (uint64, error) {
	o, ok := l.Lookup(topic, id)
	switch {
	case !ok:
		return 0, fmt.Errorf("%s: %w", Source(topic, id), kerr.UnknownTopicOrPartition)
	case o.Err != nil:
		return 0, fmt.Errorf("%s: %w", Source(topic, id), o.Err)
	case o.Offset < 0:
		return 0, fmt.Errorf("%s: %w: the broker lists offset %d", Source(topic, id), errAgain, o.Offset)
	}
	return uint64(o.Offset), nil
}

// number is a topic's id as a position can hold it.
func number(id kadm.TopicID) uint64 {
	return binary.BigEndian.Uint64(id[:8]) ^ binary.BigEndian.Uint64(id[8:])
}

// expectLagging has event time wait for the partitions that have records which
// were not read: after a while in which brokers did not answer all may have
// become idle, and the one that is read first would run ahead.
func (s *session) expectLagging(ctx context.Context) error {
	end, err := s.admin.ListEndOffsets(ctx, s.c.names...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	var list []string
	for source, p := range s.assigned {
		if o, ok := end.Lookup(p.topic.Name, p.id); ok && o.Err == nil && o.Offset > int64(s.next[source]) {
			list = append(list, source)
		}
	}
	s.mu.Unlock()
	slices.Sort(list)
	for _, source := range list {
		if _, err := s.submit(ctx, eventlog.Batch{Kind: eventlog.Events, Partition: source}); err != nil {
			return err
		}
	}
	return nil
}

// commitOffsets commits to the group, as a member or for it.
func (s *session) commitOffsets(ctx context.Context, list kadm.Offsets) error {
	if s.c.o.Config.Assignment == AssignFixed {
		return s.admin.CommitAllOffsets(ctx, s.c.o.Config.Group, list)
	}
	given := map[string]map[int32]kgo.EpochOffset{}
	list.Each(func(o kadm.Offset) {
		if given[o.Topic] == nil {
			given[o.Topic] = map[int32]kgo.EpochOffset{}
		}
		given[o.Topic][o.Partition] = kgo.EpochOffset{Epoch: -1, Offset: o.At}
	})
	var failed error
	s.client.CommitOffsetsSync(ctx, given, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
		if failed = err; err != nil {
			return
		}
		for _, t := range response.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	return failed
}
