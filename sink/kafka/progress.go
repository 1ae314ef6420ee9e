package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/sink"
)

// metadataVersion begins the metadata of the progress' offset.
const metadataVersion = "millrace-1"

// metadata is what goes with the number of the block.
func metadata(p sink.Progress) string {
	return strings.Join([]string{metadataVersion, p.Log, p.Run}, " ")
}

// progress reads what was committed last. Transactions that are being ended
// are waited for.
func (s *Sink) progress(ctx context.Context) (sink.Progress, error) {
	at, err := s.offset(kadm.RequireStable(ctx), s.Group())
	if err != nil || at == nil {
		return sink.Progress{}, err
	}
	parts := strings.Split(at.Metadata, " ")
	if len(parts) != 3 || parts[0] != metadataVersion {
		return sink.Progress{}, fmt.Errorf("%w: the offset of group %s has the metadata %q: it is not of this release; delete the group to begin anew",
			ErrProgress, s.Group(), at.Metadata)
	}
	return sink.Progress{Log: parts[1], Run: parts[2], Block: uint64(at.At)}, nil
}

// ErrProgress is the error of a group whose offset is no sink's.
var ErrProgress = errors.New("the published progress can not be read")

// offset is what a group has committed, nil if nothing. The broker does not tell
// while a transaction is being ended.
func (s *Sink) offset(ctx context.Context, group string) (*kadm.OffsetResponse, error) {
	admin := kadm.NewClient(s.client)
	for {
		all, err := admin.FetchOffsetsForTopics(ctx, group, s.anchor())
		if err == nil {
			at, ok := all.Lookup(s.anchor(), 0)
			err = at.Err
			if err == nil && (!ok || at.At < 0) {
				return nil, nil
			}
			if err == nil {
				return &at, nil
			}
		}
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.GroupIDNotFound) {
			return nil, nil // of a cluster that never saw the sink
		}
		if !errors.Is(err, kerr.UnstableOffsetCommit) && !retriable(err) {
			return nil, fmt.Errorf("read the offset of group %s: %w", group, err)
		}
		if waitErr := pause(ctx); waitErr != nil {
			return nil, fmt.Errorf("read the offset of group %s: %w", group, errors.Join(err, waitErr))
		}
	}
}

// addOffset makes the progress part of the transaction.
func (s *Sink) addOffset(ctx context.Context, p sink.Progress) error {
	id, epoch, err := s.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("the producer id: %w", err)
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = s.transactionalID(), id, epoch, s.Group()
	err = repeat(ctx, func() error {
		answer, err := add.RequestWith(ctx, s.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("add the group to the transaction: %w", err)
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = s.transactionalID(), id, epoch, s.Group()
	commit.Generation = -1 // nobody is a member
	topic, partition := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Offset, partition.Metadata, partition.LeaderEpoch = int64(p.Block), kmsg.StringPtr(metadata(p)), -1
	topic.Topic, topic.Partitions = s.anchor(), append(topic.Partitions, partition)
	commit.Topics = append(commit.Topics, topic)
	err = repeat(ctx, func() error {
		answer, err := commit.RequestWith(ctx, s.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("commit the progress in the transaction: %w", err)
	}
	return nil
}

// commitOffset commits an offset outside of transactions.
func (s *Sink) commitOffset(ctx context.Context, group string, at int64, metadata string) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: s.anchor(), Partition: 0, At: at, LeaderEpoch: -1, Metadata: metadata})
	err := repeat(ctx, func() error {
		return kadm.NewClient(s.client).CommitAllOffsets(ctx, group, offsets)
	})
	if err != nil {
		return fmt.Errorf("commit the offset of group %s: %w", group, err)
	}
	return nil
}

// claims is whether the sink has said that it is the owner.
type claims struct{ made bool }

// claim says that this sink has taken over, once.
func (s *Sink) claim(ctx context.Context) error {
	if s.claims.made {
		return nil
	}
	if err := s.commitOffset(ctx, s.ownerGroup(), time.Now().UnixMilli(), s.owner); err != nil {
		return err
	}
	s.claims.made = true
	return nil
}

// checkOwner is sink.ErrFenced if another sink has taken over since the claim.
func (s *Sink) checkOwner(ctx context.Context) error {
	if !s.claims.made {
		return nil
	}
	at, err := s.offset(ctx, s.ownerGroup())
	if err != nil {
		return err
	}
	if at != nil && at.Metadata != s.owner {
		return fmt.Errorf("%w (%s): it took over at %s", sink.ErrFenced, s.config.Name, time.UnixMilli(at.At).UTC().Format(time.RFC3339))
	}
	return nil
}

// retryPause is the pause before a request is repeated.
const retryPause = 20 * time.Millisecond

// repeat does something as long as the broker asks to do it again: the
// transaction before is still being ended, or its coordinator moves.
func repeat(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || !retriable(err) {
			return err
		}
		if waitErr := pause(ctx); waitErr != nil {
			return errors.Join(err, waitErr)
		}
	}
}

func retriable(err error) bool {
	return errors.Is(err, kerr.ConcurrentTransactions) || kerr.IsRetriable(err)
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(retryPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connection remembers why the last connection did not come about: a client
// tries again and again and tells nobody.
type connection struct{ failed atomic.Pointer[error] }

var _ kgo.HookBrokerConnect = (*connection)(nil)

// OnBrokerConnect is called by the client after each try to connect.
func (c *connection) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		c.failed.Store(nil)
		return
	}
	c.failed.Store(&err)
}

// Words say what an error means and what can be done about it.
func (s *Sink) Words(err error) string {
	if words := s.registryWords(err); words != "" {
		return words
	}
	switch failed := s.away.failed.Load(); {
	case errors.Is(err, sink.ErrFenced):
		return fmt.Sprintf("%v: if that is not wanted, give each engine its own publish.name", err)
	case errors.Is(err, ErrTopic), errors.Is(err, ErrProgress):
		return err.Error()
	case errors.Is(err, kerr.MessageTooLarge):
		return "a topic takes no records of that size: raise its max.message.bytes, or lower publish.max_record_kib"
	case failed != nil && (errors.Is(err, sink.ErrSlow) || errors.Is(err, context.DeadlineExceeded)):
		return s.brokers.Words(*failed)
	case errors.Is(err, sink.ErrSlow):
		return "the brokers are slow to answer"
	}
	return s.brokers.Words(err)
}
