package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/event"
	"millrace/eventlog"
	"millrace/source"
	"millrace/source/format"
	"millrace/source/kafka"
)

// Records at a position that are gone are told, and not passed over unless the
// configuration says so. Other partitions are read all the same.
func TestLostRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(w *world)
		want string
		from map[string]int // the first item after the loss, by when_lost
		to   int
	}{
		{"deleted by retention", func(w *world) {
			w.produceEvents("a", 0, 10, 30)
			w.deleteBefore("a", 0, 20)
		}, "10 records were deleted before they were read", map[string]int{kafka.StartEarliest: 20, kafka.StartLatest: 30}, 30},
		{"made anew, shorter", func(w *world) {
			w.recreate("a")
			w.produceEvents("a", 0, 100, 103)
		}, "topic a was deleted and made anew", map[string]int{kafka.StartEarliest: 100, kafka.StartLatest: 103}, 103},
		{"made anew, longer", func(w *world) {
			w.recreate("a")
			w.produceEvents("a", 0, 100, 150)
		}, "topic a was deleted and made anew", map[string]int{kafka.StartEarliest: 100, kafka.StartLatest: 150}, 150},
	} {
		for _, when := range []string{kafka.LostStop, kafka.StartEarliest, kafka.StartLatest} {
			t.Run(c.name+" "+when, func(t *testing.T) {
				w := newWorld(t, 1, "a", "b")
				w.produce("a", 0, "bad") // at offset 0
				w.produceEvents("a", 0, 1, 10)
				settings := config(w, "a", "b")
				settings.WhenLost = when
				n := newNode(t, vfs.NewMem())
				n.start(n.options(settings))
				n.wantInOrder("a", 0, 1, 10)
				n.stop()
				c.lose(w)
				n.start(n.options(settings))
				w.produceEvents("b", 0, 0, 5)
				n.wantInOrder("b", 0, 0, 5)
				got := len(n.of("a", 0))
				if when == kafka.LostStop {
					if err := n.consumer.Err(); got != 9 || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "kafka.when_lost") {
						t.Errorf("%d items, %v", got, err)
					}
					if s := n.consumer.Status(); s.Partitions[0].Lost == "" || s.Partitions[0].Assigned || s.Partitions[1].Lost != "" {
						t.Errorf("%+v", s)
					}
					return
				}
				w.produce("a", 0, "bad")
				w.produceEvents("a", 0, c.to, c.to+5)
				until(t, "what comes then", func() bool { return len(n.of("a", 0)) >= 9+c.to+5-c.from[when] })
				items := n.of("a", 0)[9:]
				for i, item := range items {
					if item != fmt.Sprint(c.from[when]+i) {
						t.Fatalf("%v", items)
					}
				}
				if err := n.consumer.Err(); err != nil || n.log.DeadLetterCount() != 2 {
					t.Errorf("%v, %d dead letters", err, n.log.DeadLetterCount())
				}
			})
		}
	}
}

func (w *world) deleteBefore(topic string, partition int32, offset int64) {
	w.t.Helper()
	request := kmsg.NewPtrDeleteRecordsRequest()
	t := kmsg.NewDeleteRecordsRequestTopic()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	if _, err := request.RequestWith(w.t.Context(), w.client); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) recreate(topic string) {
	w.t.Helper()
	if _, err := w.admin.DeleteTopics(w.t.Context(), topic); err != nil {
		w.t.Fatal(err)
	}
	w.client.PurgeTopicsFromClient(topic)
	if _, err := w.admin.CreateTopics(w.t.Context(), 1, 1, nil, topic); err != nil {
		w.t.Fatal(err)
	}
}

// A topic that is made anew while it is read, and records that are deleted
// while they are, are met too.
func TestATopicMadeAnewWhileItIsRead(t *testing.T) {
	w := newWorld(t, 1, "a")
	n := newNode(t, vfs.NewMem())
	n.start(n.options(config(w, "a")))
	w.produceEvents("a", 0, 0, 10)
	n.wantInOrder("a", 0, 0, 10)
	w.recreate("a")
	w.produceEvents("a", 0, 10, 30)
	until(t, "the topic to be told", func() bool {
		err := n.consumer.Err()
		return err != nil && strings.Contains(err.Error(), "made anew")
	})
	if got := n.of("a", 0); len(got) != 10 {
		t.Errorf("%v", got)
	}
}

// flaky is a log that is full and fails now and then.
type flaky struct {
	*eventlog.Appender
	mu     sync.Mutex
	random *rand.Rand
	failed time.Time // it takes nothing until then
}

var errFlaky = errors.New("the disk is on fire")

func (f *flaky) Submit(b eventlog.Batch) (*eventlog.Ticket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch n := f.random.IntN(30); {
	case n < 10:
		return nil, fmt.Errorf("submitting: %w", eventlog.ErrOverloaded)
	case n == 10:
		f.failed = time.Now().Add(50 * time.Millisecond)
		return nil, errFlaky
	case n == 11: // it is stored, and the one who submitted it does not learn it
		if _, err := f.Appender.Submit(b); err != nil {
			return nil, err
		}
		return nil, errFlaky
	}
	return f.Appender.Submit(b)
}

func (f *flaky) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.failed) {
		return errFlaky
	}
	return nil
}

// Whatever the log does, a record is in it once: also where a batch was stored
// that had failed, as then the log tells how far it is.
func TestALogThatFails(t *testing.T) {
	w := newWorld(t, 2, "a")
	n := newNode(t, vfs.NewMem())
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	o := n.options(config(w, "a"))
	o.Log = &flaky{Appender: n.appender, random: rand.New(rand.NewPCG(seed, 1))}
	o.Settled = func(context.Context) error {
		until(t, "an empty queue", func() bool { events, _ := n.appender.Queued(); return events == 0 })
		return nil
	}
	n.start(o)
	for i := range 40 {
		w.produce("a", 0, "bad")
		w.produceEvents("a", 0, 10*i, 10*i+10)
		w.produceEvents("a", 1, 10*i, 10*i+10)
		time.Sleep(20 * time.Millisecond)
	}
	n.wantInOrder("a", 0, 0, 400)
	n.wantInOrder("a", 1, 0, 400)
	if got := n.log.DeadLetterCount(); got != 40 {
		t.Errorf("%d dead letters", got)
	}
}

// Two members of a group share partitions while they come and go. Each has read,
// of every partition that it was ever given, each record once and in order.
func TestRebalances(t *testing.T) {
	w := newWorld(t, 4, "a")
	ctx, stop := context.WithCancel(t.Context())
	var producing sync.WaitGroup
	producing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			for partition := range int32(4) {
				w.produceEvents("a", partition, 5*i, 5*i+5)
			}
			time.Sleep(time.Millisecond)
		}
	})
	stays, comes := newNode(t, vfs.NewMem()), newNode(t, vfs.NewMem())
	c := config(w, "a")
	stays.start(stays.options(c))
	for range 3 {
		comes.start(comes.options(c))
		before := comes.count("a")
		until(t, "the second one to read", func() bool { return comes.count("a") > before+100 })
		comes.stop()
		before = stays.count("a")
		until(t, "the first one to go on", func() bool { return stays.count("a") > before+100 })
	}
	stop()
	producing.Wait()
	end, err := w.admin.ListEndOffsets(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for partition := range int32(4) {
		o, _ := end.Lookup("a", partition)
		stays.wantInOrder("a", partition, 0, int(o.Offset))
		for i, item := range comes.of("a", partition) {
			if item != fmt.Sprint(i) {
				t.Fatalf("partition %d: item %d is %s", partition, i, item)
			}
		}
	}
}

// waiting is a decoder that can not decode at first.
type waiting struct {
	format.Decoder
	mu    sync.Mutex
	until time.Time
}

func (d *waiting) Decode(ctx context.Context, r *format.Record, now event.Time, into *event.Event) (*source.Bad, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return nil, errors.New("the schema registry does not answer")
	}
	return d.Decoder.Decode(ctx, r, now, into)
}

// A decoder that waits is told, and nothing is a dead letter for it.
func TestADecoderThatWaits(t *testing.T) {
	w := newWorld(t, 1, "a")
	n := newNode(t, vfs.NewMem())
	o := n.options(config(w, "a"))
	o.Decoder = func(t *kafka.Topic) (format.Decoder, error) {
		d, err := format.New(t.Config, t.Mapping, nil, nil)
		return &waiting{Decoder: d, until: time.Now().Add(500 * time.Millisecond)}, err
	}
	w.produceEvents("a", 0, 0, 3)
	n.start(o)
	until(t, "it to be told", func() bool {
		err := n.consumer.Err()
		return err != nil && strings.Contains(err.Error(), "topic a: the schema registry does not answer")
	})
	n.wantInOrder("a", 0, 0, 3)
	if err := n.consumer.Err(); err != nil || n.log.DeadLetterCount() != 0 {
		t.Errorf("%v, %d dead letters", err, n.log.DeadLetterCount())
	}
}

// Bad records go to the dead-letter topic with where they came from. One that
// takes nothing is told and stops nothing.
func TestDeadLetterTopic(t *testing.T) {
	w := newWorld(t, 1, "a", "bad")
	for _, c := range []struct {
		topic string
		sent  int
	}{{"bad", 2}, {"not-there", 0}} {
		t.Run(c.topic, func(t *testing.T) {
			w := *w
			w.t = t
			settings := config(&w, "a")
			settings.DeadLetterTopic, settings.Group, settings.Start = c.topic, c.topic, kafka.StartLatest
			n := newNode(t, vfs.NewMem())
			n.start(n.options(settings))
			until(t, "a position", func() bool { _, known := n.position(kafka.Source("a", 0)); return known })
			from, _ := n.position(kafka.Source("a", 0))
			// One has waited in the topic for longer than the dead-letter topic may take.
			old := &kgo.Record{Topic: "a", Value: []byte("what?"), Timestamp: time.Now().Add(-time.Hour)}
			if err := w.client.ProduceSync(t.Context(), old).FirstErr(); err != nil {
				t.Fatal(err)
			}
			w.produce("a", 0, value("u", 1), `{"userId":"u"}`)
			until(t, "the event", func() bool { return n.count("a") == 1 })
			s := n.consumer.Status()
			if n.log.DeadLetterCount() != 2 || s.UnsentDeadLetters != uint64(2-c.sent) || (c.sent == 0) != (len(s.Problems) == 1) {
				t.Errorf("%d dead letters, %+v", n.log.DeadLetterCount(), s)
			}
			if c.sent == 0 {
				return
			}
			reader, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics("bad"))
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			bounded, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			records := reader.PollRecords(bounded, 10).Records()
			if len(records) != 2 || string(records[0].Value) != "what?" || time.Since(records[0].Timestamp) > time.Minute {
				t.Fatalf("%v", records)
			}
			if want := (kgo.RecordHeader{Key: "millrace-timestamp", Value: []byte(strconv.FormatInt(old.Timestamp.UnixMilli(), 10))}); !slices.ContainsFunc(records[0].Headers,
				func(h kgo.RecordHeader) bool { return h.Key == want.Key && string(h.Value) == string(want.Value) }) {
				t.Errorf("%v, expected %v", records[0].Headers, want)
			}
			headers := map[string]string{}
			for _, h := range records[1].Headers {
				headers[h.Key] = string(h.Value)
			}
			if headers["millrace-field"] != "item_id" || headers["millrace-topic"] != "a" || headers["millrace-partition"] != "0" ||
				headers["millrace-offset"] != fmt.Sprint(from+2) || !strings.HasPrefix(headers["millrace-error"], "item_id: expected a string") {
				t.Errorf("%v", headers)
			}
		})
	}
}

// What is in the dead letters of a log that did not get to the position is not
// stored there again.
func TestADeadLetterIsStoredOnce(t *testing.T) {
	w := newWorld(t, 1, "a")
	w.produce("a", 0, "bad", "bad", "bad")
	w.produceEvents("a", 0, 0, 1)
	n := newNode(t, vfs.NewMem())
	if err := n.log.AppendDeadLetters([]eventlog.DeadLetter{
		{Error: "kafka:a/0@1: expected an event, got b"}, {Error: "kafka:b/0@2: of another topic"}, {Error: "element 0: by HTTP"},
	}); err != nil {
		t.Fatal(err)
	}
	n.start(n.options(config(w, "a")))
	n.wantInOrder("a", 0, 0, 1)
	if got := n.log.DeadLetterCount(); got != 5 {
		t.Errorf("%d dead letters", got)
	}
}

// Brokers that do not answer are told in words, and reading goes on when they do.
func TestBrokersThatAreNotThere(t *testing.T) {
	w := newWorld(t, 1, "a")
	var down sync.Map // non-empty: requests get no answer
	w.cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if _, is := down.Load("down"); is {
			return nil, errors.New("no"), true
		}
		return nil, nil, false
	})
	n := newNode(t, vfs.NewMem())
	n.start(n.options(config(w, "a")))
	w.produceEvents("a", 0, 0, 5)
	n.wantInOrder("a", 0, 0, 5)
	down.Store("down", true)
	until(t, "the brokers to be missed", func() bool { return n.consumer.Err() != nil })
	t.Log(n.consumer.Err())
	down.Delete("down")
	w.produceEvents("a", 0, 5, 9)
	n.wantInOrder("a", 0, 0, 9)
	until(t, "all to be well", func() bool { return n.consumer.Err() == nil })
	if s := n.consumer.Status(); s.LastError == "" || s.LastErrorTime.IsZero() {
		t.Errorf("%+v", s)
	}
}

// What the group may not do is told in words.
func TestRefusals(t *testing.T) {
	w := newWorld(t, 1, "a")
	w.cluster.ControlKey(int16(kmsg.FindCoordinator), func(r kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		response := r.ResponseKind().(*kmsg.FindCoordinatorResponse)
		response.ErrorCode = kerr.GroupAuthorizationFailed.Code
		for _, key := range r.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.ErrorCode = key, kerr.GroupAuthorizationFailed.Code
			response.Coordinators = append(response.Coordinators, c)
		}
		return response, nil, true
	})
	n := newNode(t, vfs.NewMem())
	n.start(n.options(config(w, "a")))
	until(t, "it to be told", func() bool {
		err := n.consumer.Err()
		return err != nil && strings.Contains(err.Error(), "the user may not use the consumer group")
	})
}

// Transactions that are open or aborted are not read, and their marks are
// passed over: there is no lag left.
func TestTransactions(t *testing.T) {
	w := newWorld(t, 1, "a")
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.TransactionalID("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	n := newNode(t, vfs.NewMem())
	n.start(n.options(config(w, "a")))
	for i, commit := range []bool{true, false, true, false} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte(value("u", i/2))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
	n.wantInOrder("a", 0, 0, 2)
	until(t, "the position behind the last mark", func() bool { at, _ := n.position(kafka.Source("a", 0)); return at == 8 })
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, 1, "a")
	n := newNode(t, vfs.NewMem())
	w.produce("a", 0, "bad")
	w.produceEvents("a", 0, 0, 3)
	n.start(n.options(config(w, "a")))
	n.wantInOrder("a", 0, 0, 3)
	until(t, "the end to be known", func() bool {
		p := n.consumer.Status().Partitions
		return len(p) == 1 && p[0].End == 4 && p[0].Next == 4
	})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(n.consumer); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"records_total": 4, "bad_records_total": 1, "repeated_records_total": 0, "lag_records": 0, "position": 4, "lost": 0,
		"dead_letters_unsent_total": 0, "last_error_seconds": 0, "bytes_total": float64(len("bad") + 3*len(value("u0", 0))),
	} {
		if value, ok := got["millrace_kafka_"+name]; !ok || value != want {
			t.Errorf("%s: %v, want %v", name, value, want)
		}
	}
}
