package export

import (
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/eventlog"
	"millrace/internal/kafkaclient"
)

// cluster is one in memory.
func cluster(t *testing.T) kafkaclient.Config {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := kafkaclient.Default()
	c.Brokers = fake.ListenAddrs()
	return c
}

// with does something with the log of a directory.
func with(t *testing.T, dir string, do func(log *eventlog.Log) error) {
	t.Helper()
	log, err := eventlog.Open(dir, eventlog.Options{})
	if err == nil {
		err = errors.Join(do(log), log.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// block is a block of one event.
func block(number uint64, stored time.Time) *eventlog.Block {
	return &eventlog.Block{
		Number: number, Time: event.FromGo(stored), Kind: eventlog.Events, Count: 1,
		Payload: event.AppendEvent(nil, &event.Event{User: "ann", Item: "tent", Type: "view", Time: 1}),
	}
}

// Records have the time of the export: with that of the blocks, a broker's
// retention would delete what was stored before it at once.
func TestRecordsAreNotOlderThanTheExport(t *testing.T) {
	brokers, began := cluster(t), time.Now().Truncate(time.Millisecond)
	with(t, t.TempDir(), func(log *eventlog.Log) error {
		if err := log.Append(block(1, began.AddDate(0, -1, 0))); err != nil {
			return err
		}
		_, err := Topic(t.Context(), log, brokers, "clicks", 1, false, slog.New(slog.DiscardHandler))
		return err
	})
	reader, err := kgo.NewClient(kgo.SeedBrokers(brokers.Brokers...), kgo.ConsumeTopics("clicks"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	records := reader.PollFetches(t.Context()).Records()
	if len(records) != 1 || records[0].Timestamp.Before(began) {
		t.Errorf("%v, want one record that is not older than %v", records, began)
	}
}

// A log that was put back from a copy has other blocks under numbers that the
// topic has already: they are not taken for sent.
func TestAnOlderCopyIsRefused(t *testing.T) {
	brokers, dir, older := cluster(t), t.TempDir(), t.TempDir()
	send := func(log *eventlog.Log) (Result, error) {
		return Topic(t.Context(), log, brokers, "clicks", 1, false, slog.New(slog.DiscardHandler))
	}
	with(t, dir, func(log *eventlog.Log) error {
		if _, err := log.Identity(); err != nil {
			return err
		}
		return log.Append(block(1, time.Now()))
	})
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	with(t, dir, func(log *eventlog.Log) error {
		if err := log.Append(block(2, time.Now())); err != nil {
			return err
		}
		_, err := send(log)
		return err
	})
	with(t, older, func(log *eventlog.Log) error {
		if r, err := send(log); !errors.Is(err, errOlder) {
			t.Errorf("%+v, %v", r, err)
		}
		return nil
	})
	with(t, dir, func(log *eventlog.Log) error {
		if r, err := send(log); err != nil || r.Before != 2 || r.Events != 0 {
			t.Errorf("the log itself: %+v, %v", r, err)
		}
		return nil
	})
}
