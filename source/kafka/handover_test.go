package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/eventlog"
	"millrace/source/format"
)

// handing is a session that has partition 0 of topic a, and hands its records to a
// log in memory.
func handing(t *testing.T, tombstones string, deleted func(user string, block uint64)) (*session, *partition, *eventlog.Log) {
	t.Helper()
	log, err := eventlog.Open("log", eventlog.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	appender := eventlog.NewAppender(log, eventlog.AppenderOptions{})
	t.Cleanup(func() {
		if err := errors.Join(appender.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	config := Default()
	config.Topics, config.Tombstones = []Topic{{Name: "a"}}, tombstones
	c := &Consumer{o: Options{
		Config: config, Log: appender, DeadLetters: log, Deleted: deleted, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}}
	c.status.init(&c.o)
	c.letters = &letters{c: c, stored: map[string]map[uint64]bool{}}
	p := &partition{topic: &topic{&config.Topics[0], format.NewJSON(format.Mapping{RecordTime: true}, nil)}, source: Source("a", 0)}
	return &session{c: c, next: map[string]uint64{}, assigned: map[string]*partition{p.source: p}}, p, log
}

// Records that were handed over already are dropped, whatever a client gives
// again, and so are those of a partition that is another member's now.
func TestRecordsThatComeAgainAreDropped(t *testing.T) {
	s, p, log := handing(t, TombstoneLetter, nil)
	s.next[p.source] = 3
	hand := func(id int32, offsets ...int64) {
		t.Helper()
		var records []*kgo.Record
		for _, o := range offsets {
			records = append(records, &kgo.Record{Topic: "a", Offset: o, Timestamp: time.Now(), Value: []byte(`{"user_id":"u","item_id":"i"}`)})
		}
		if err := s.handOver(t.Context(), "a", id, records); err != nil {
			t.Fatal(err)
		}
	}
	hand(0, 1, 2, 3, 4) // 3 and 4
	hand(0, 3, 4)       // none
	hand(0, 4, 5, 9)    // 5 and 9: those between are not there
	hand(1, 0, 1)       // none: it is not ours
	if err := s.settle(0); err != nil {
		t.Fatal(err)
	}
	count, next := 0, uint64(0)
	if err := log.Scan(1, func(b *eventlog.Block) error {
		count += b.Count
		next = b.Positions[0].Next
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	status := s.c.Status()
	if count != 4 || next != 10 || p.durable != 10 || status.Topics[0].Repeated != 5 {
		t.Errorf("%d records up to %d, durable %d, %+v", count, next, p.durable, status)
	}
}

// Records without a value delete whom or what their key names, at their place
// between the others, or are dead letters: the configuration says which.
func TestTombstones(t *testing.T) {
	at := time.UnixMilli(1_600_000_000_000)
	event1 := []byte(`{"user_id":"u","item_id":"i"}`)
	records := []*kgo.Record{
		{Offset: 0, Key: []byte("u"), Value: event1},
		{Offset: 1, Key: []byte("u")},
		{Offset: 2, Key: []byte("\x00item:i")},
		{Offset: 3, Key: []byte("u"), Value: event1},
		{Offset: 4, Key: []byte("u"), Value: event1},
		{Offset: 5},                         // names nobody
		{Offset: 6, Key: []byte("\x00odd")}, // no id
		{Offset: 7, Key: []byte("v"), Value: []byte{}},
		{Offset: 8, Key: []byte("v")},
	}
	for _, tombstones := range []string{TombstoneDelete, TombstoneLetter} {
		var deleted []string
		s, p, log := handing(t, tombstones, func(user string, block uint64) { deleted = append(deleted, fmt.Sprint(user, "@", block)) })
		for _, r := range records {
			r.Topic, r.Timestamp = "a", at
			// One at a time, so that each is a block of its own.
			if err := errors.Join(s.handOver(t.Context(), "a", 0, []*kgo.Record{r}), s.settle(0)); err != nil {
				t.Fatal(err)
			}
		}
		blocks := func(from uint64) (list []string) {
			if err := log.Scan(from, func(b *eventlog.Block) error {
				text := map[eventlog.Kind]string{eventlog.Events: "events", eventlog.Catalogue: "deletion"}[b.Kind]
				list = append(list, fmt.Sprint(text, " ", b.Count, " to ", b.Positions[0].Next))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return list
		}
		got, last := blocks(1), log.Last()
		want, letters := []string{
			"events 1 to 1", "deletion 1 to 2", "deletion 1 to 3", "events 1 to 4", "events 1 to 5", "events 0 to 6", "events 0 to 7", "events 0 to 8", "deletion 1 to 9",
		}, 3
		users := []string{"u@2", "v@9"}
		if tombstones == TombstoneLetter {
			want, letters, users = []string{
				"events 1 to 1", "events 0 to 2", "events 0 to 3", "events 1 to 4", "events 1 to 5", "events 0 to 6", "events 0 to 7", "events 0 to 8", "events 0 to 9",
			}, 6, nil
		}
		if !slices.Equal(got, want) || !slices.Equal(deleted, users) || log.DeadLetterCount() != letters {
			t.Errorf("%s: %q, deleted %q, %d dead letters", tombstones, got, deleted, log.DeadLetterCount())
		}
		// All at once: what comes before a deletion is handed over before it.
		delete(s.next, p.source)
		if err := errors.Join(s.handOver(t.Context(), "a", 0, records), s.settle(0)); err != nil {
			t.Fatal(err)
		}
		want = []string{"events 1 to 1", "deletion 1 to 2", "deletion 1 to 3", "events 2 to 8", "deletion 1 to 9"}
		if tombstones == TombstoneLetter {
			want = []string{"events 3 to 9"}
		}
		if got := blocks(last + 1); p.durable != 9 || !slices.Equal(got, want) {
			t.Errorf("%s: durable up to %d, %q", tombstones, p.durable, got)
		}
	}
}

// A session that is over tells the log of no beginning, and is over only when
// the last one is told: the next session may have read on from there already.
func TestASessionThatIsOverBeginsNothing(t *testing.T) {
	s := &session{}
	s.alive, s.end = context.WithCancel(t.Context())
	ctx, leave, ok := s.enter(t.Context())
	if !ok {
		t.Fatal("it has not begun")
	}
	over := make(chan struct{})
	go func() {
		s.over()
		close(over)
	}()
	<-ctx.Done() // what is under way is asked to end
	select {
	case <-over:
		t.Fatal("it is over, and tells the log of a beginning")
	case <-time.After(50 * time.Millisecond):
	}
	leave()
	<-over
	if from, err := s.begin(t.Context(), want{"a": {0}}); err == nil || len(from) > 0 {
		t.Errorf("%v, %v", from, err)
	}
}
