package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/eventlog"
)

// polled bounds the records that are taken from the client at once.
const polled = 8192

// sentBatches is how many batches are on their way to the log at most.
const sentBatches = 64

// closeTimeout is how long leaving the group and a last commit may take.
const closeTimeout = 2 * time.Second

// metadataAge is how old the client's knowledge of topics and partitions may be.
const metadataAge = 10 * time.Second

// session reads with one client. What it hands over is checked against where
// its partitions have got, so that neither a rebalance nor a fetch of the same
// records again can store a record twice.
type session struct {
	c      *Consumer
	client *kgo.Client
	admin  *kadm.Client
	made   chan struct{} // closed when they are: the client calls before it is handed out
	began  time.Time
	seen   int // partitions of all topics; the monitor's

	mu        sync.Mutex
	next      map[string]uint64     // first offset of a partition, by its source, that was not handed over
	assigned  map[string]*partition // by source
	sent      []sent                // on their way to the log, oldest first
	committed time.Time
	batch     batch

	commits    sync.WaitGroup
	committing atomic.Bool

	// alive ends with the session, and begins are calls of begin: one that is
	// under way must not tell the log where a session begins that is over.
	alive  context.Context
	end    context.CancelFunc
	begins sync.WaitGroup
}

// partition is one that this client reads.
type partition struct {
	topic     *topic
	id        int32
	source    string
	durable   uint64 // as far as the log has it
	committed uint64 // as far as the group was told
}

// sent is a batch on its way to the log.
type sent struct {
	ticket    *eventlog.Ticket
	partition *partition
	next      uint64
	deleted   string // the user whom it deletes, if it does
}

func newSession(c *Consumer) (*session, error) {
	s := &session{c: c, made: make(chan struct{}), began: c.o.Now(), next: map[string]uint64{}, assigned: map[string]*partition{}}
	s.alive, s.end = context.WithCancel(c.ctx)
	config := &c.o.Config
	options := append(slices.Clip(slices.Clone(c.options)),
		kgo.WithHooks(&connections{c}),
		kgo.FetchMaxBytes(int32(config.Fetch.MaxMiB)<<20),
		kgo.FetchMaxPartitionBytes(int32(config.Fetch.MaxPartitionMiB)<<20),
		kgo.BrokerMaxReadBytes(int32(max(100, 2*config.Fetch.MaxMiB))<<20),
		kgo.MaxConcurrentFetches(config.Fetch.MaxConcurrent),
		kgo.FetchMaxWait(config.Fetch.MaxWait),
		kgo.MetadataMaxAge(metadataAge),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // so that positions get past them
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)
	if config.Assignment == AssignGroup {
		options = append(options,
			kgo.ConsumerGroup(config.Group),
			kgo.ConsumeTopics(c.names...),
			kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.DisableAutoCommit(),
			kgo.SessionTimeout(config.SessionTimeout),
			kgo.HeartbeatInterval(config.SessionTimeout/5),
			kgo.BlockRebalanceOnPoll(),
			kgo.AdjustFetchOffsetsFn(s.adjust),
			kgo.OnPartitionsRevoked(s.revoked),
			kgo.OnPartitionsLost(s.lost),
		)
	}
	if config.Assignment == AssignGroup && config.InstanceID != "" {
		options = append(options, kgo.InstanceID(config.InstanceID))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		s.end()
		return nil, fmt.Errorf("%w: kafka: %w", ErrConfig, err)
	}
	s.client, s.admin = client, kadm.NewClient(client)
	close(s.made)
	return s, nil
}

// run reads until ctx ends or something fails that a new session may mend.
func (s *session) run(ctx context.Context) error {
	if s.c.o.Config.Assignment == AssignFixed {
		if err := s.assignFixed(ctx); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		wait, stop := context.WithTimeout(ctx, s.c.o.Config.CommitInterval)
		fetches := s.client.PollRecords(wait, polled)
		stop()
		err := s.take(ctx, fetches)
		s.client.AllowRebalance()
		if err == nil {
			err = s.settle(sentBatches)
		}
		if err != nil {
			return err
		}
		s.commitDue(ctx)
	}
	return s.settle(0)
}

// take hands over what was fetched.
func (s *session) take(ctx context.Context, fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if err := s.fetchError(e); err != nil {
			return err
		}
	}
	if fetches.NumRecords() == 0 {
		return nil
	}
	if s.c.outage.Swap(false) {
		if err := s.expectLagging(ctx); err != nil {
			s.c.outage.Store(true)
			return err
		}
	}
	var err error
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		if err == nil && len(f.Records) > 0 {
			err = s.handOver(ctx, f.Topic, f.Partition, f.Records)
		}
	})
	return err
}

// fetchError says whether a session has to end because of an error of a fetch.
func (s *session) fetchError(e kgo.FetchError) error {
	switch {
	case errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled):
		return nil // nothing came in time
	case errors.Is(e.Err, kerr.OffsetOutOfRange):
		return fmt.Errorf("%s: %w", Source(e.Topic, e.Partition), errAgain) // which finds out why
	case e.Topic == "":
		return e.Err
	}
	return fmt.Errorf("%s: %w", Source(e.Topic, e.Partition), e.Err)
}

// revoked lets go of partitions that another member is to read: what was handed
// over is durable and committed first.
func (s *session) revoked(ctx context.Context, _ *kgo.Client, gone map[string][]int32) {
	err := s.settle(0)
	if err == nil && len(gone) > 0 {
		err = s.commit(ctx)
	}
	if err != nil && ctx.Err() == nil && s.alive.Err() == nil {
		s.c.o.Logger.Warn("kafka: letting go of partitions", "error", s.c.o.Config.Words(err))
	}
	s.lost(ctx, nil, gone)
}

// lost lets go of partitions.
func (s *session) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, ids := range gone {
		for _, id := range ids {
			delete(s.assigned, Source(name, id))
			s.c.status.released(Source(name, id))
		}
	}
}

// settle waits until at most so many batches are on their way to the log.
func (s *session) settle(most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.sent) > 0 {
		first := s.sent[0]
		select {
		case <-first.ticket.Done():
		default:
			if len(s.sent) <= most {
				return nil
			}
		}
		if err := first.ticket.Err(); err != nil {
			return fmt.Errorf("the event log: %w", err)
		}
		first.partition.durable = first.next
		s.c.status.durable(first.partition.source, first.next)
		s.c.letters.passed(first.partition.source, first.next)
		if first.deleted != "" {
			s.c.o.Deleted(first.deleted, first.ticket.Block())
		}
		s.sent = s.sent[1:]
	}
	return nil
}

// commitDue commits beside the reading if it is time to. A commit that fails is
// tried again: until then lag is not seen, and nothing else is the matter.
func (s *session) commitDue(ctx context.Context) {
	if s.c.o.Now().Sub(s.committed) < s.c.o.Config.CommitInterval || s.committing.Swap(true) {
		return
	}
	s.committed = s.c.o.Now()
	s.commits.Go(func() {
		defer s.committing.Store(false)
		ctx, stop := context.WithTimeout(ctx, s.c.o.Config.RequestTimeout)
		defer stop()
		err := s.commit(ctx)
		if ctx.Err() == nil {
			s.c.status.commit(s.c.o.Config.Words(err))
		}
	})
}

// commit tells the group how far the log is.
func (s *session) commit(ctx context.Context) error {
	s.mu.Lock()
	offsets := kadm.Offsets{}
	var told []*partition
	for _, p := range s.assigned {
		if p.durable != p.committed {
			offsets.Add(kadm.Offset{Topic: p.topic.Name, Partition: p.id, At: int64(p.durable), LeaderEpoch: -1})
			told = append(told, p)
		}
	}
	s.mu.Unlock()
	if len(told) == 0 {
		return nil
	}
	if err := s.commitOffsets(ctx, offsets); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range told {
		if o, ok := offsets.Lookup(p.topic.Name, p.id); ok {
			p.committed = uint64(o.At)
		}
	}
	return nil
}

// close commits what is durable and leaves the group.
func (s *session) close() {
	ctx, stop := context.WithTimeout(context.Background(), closeTimeout)
	defer stop()
	s.commits.Wait()
	s.over()
	if err := s.settle(0); err == nil {
		err = s.commit(ctx)
		if err != nil {
			s.c.o.Logger.Debug("kafka: the last commit", "error", err)
		}
	}
	s.client.AllowRebalance()
	if err := s.client.LeaveGroupContext(ctx); err != nil {
		s.c.o.Logger.Debug("kafka: leaving the group", "error", err)
	}
	s.client.CloseAllowingRebalance()
	s.mu.Lock()
	defer s.mu.Unlock()
	for source := range maps.Keys(s.assigned) {
		s.c.status.released(source)
	}
}

// over waits for calls of begin, and lets no other one begin.
func (s *session) over() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.begins.Wait()
}

// enter begins a call of begin, whose context ends with the session; false once
// the session is over.
func (s *session) enter(ctx context.Context) (context.Context, func(), bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alive.Err() != nil {
		return ctx, nil, false
	}
	s.begins.Add(1)
	ctx, stop := context.WithCancel(ctx)
	detach := context.AfterFunc(s.alive, stop)
	return ctx, func() {
		detach()
		stop()
		s.begins.Done()
	}, true
}

// connections notes when brokers are lost.
type connections struct{ c *Consumer }

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (h *connections) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		h.c.outage.Store(true)
	}
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (h *connections) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { h.c.outage.Store(true) }
