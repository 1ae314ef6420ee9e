package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/source/format"
	"millrace/source/kafka"
)

// world is a cluster in memory.
type world struct {
	t       *testing.T
	cluster *kfake.Cluster // nil for a real one
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
}

func newWorld(t *testing.T, partitions int32, topics ...string) *world {
	t.Helper()
	options := []kfake.Opt{kfake.NumBrokers(1)}
	if len(topics) > 0 {
		options = append(options, kfake.SeedTopics(partitions, topics...))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := connect(t, cluster.ListenAddrs()...)
	w.cluster = cluster
	return w
}

// connect is a cluster that runs.
func connect(t *testing.T, brokers ...string) *world {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &world{t, nil, brokers, client, kadm.NewClient(client)}
}

// value is an event of a user, whose item is a number.
func value(user string, n int) string {
	return fmt.Sprintf(`{"userId":%q,"movieId":%d,"timestamp":%d}`, user, n, 1_600_000_000_000+n)
}

func (w *world) produce(topic string, partition int32, values ...string) {
	w.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}
	}
	for {
		err := w.client.ProduceSync(w.t.Context(), records...).FirstErr()
		if err == nil {
			return
		}
		// It does not know of a new topic or partition yet.
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !strings.Contains(err.Error(), "invalid record partitioning choice") {
			w.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// produceEvents sends the events from n to m-1 of a partition.
func (w *world) produceEvents(topic string, partition int32, n, m int) {
	w.t.Helper()
	var values []string
	for ; n < m; n++ {
		values = append(values, value(fmt.Sprint("u", partition), n))
	}
	w.produce(topic, partition, values...)
}

// node is a log with an appender, and what would be the engine's positions.
type node struct {
	t        *testing.T
	fs       *vfs.MemFS
	log      *eventlog.Log
	appender *eventlog.Appender
	consumer *kafka.Consumer

	mu        sync.Mutex
	positions map[string]uint64
	items     map[string][]string // by partition, in the order of the log
	expected  map[string]int      // runs without records, by partition
}

func newNode(t *testing.T, fs *vfs.MemFS) *node {
	t.Helper()
	log, err := eventlog.Open("log", eventlog.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, fs: fs, log: log, positions: map[string]uint64{}, items: map[string][]string{}, expected: map[string]int{}}
	if err := log.Scan(1, func(b *eventlog.Block) error {
		n.deliver(b)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n.appender = eventlog.NewAppender(log, eventlog.AppenderOptions{Deliver: n.deliver})
	t.Cleanup(n.close)
	return n
}

func (n *node) deliver(b *eventlog.Block) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := wire.NewReader(b.Payload)
	for _, run := range b.Runs {
		if run.Count == 0 {
			n.expected[run.Partition]++
		}
		for range run.Count {
			var e event.Event
			event.ReadEvent(r, &e, nil)
			n.items[run.Partition] = append(n.items[run.Partition], e.Item)
		}
	}
	if r.Err() != nil || r.Len() != 0 {
		n.t.Errorf("block %d: %v, %d bytes left", b.Number, r.Err(), r.Len())
	}
	for _, p := range b.Positions {
		n.positions[p.Source] = p.Next
	}
}

func (n *node) position(source string) (uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next, known := n.positions[source]
	return next, known
}

func (n *node) sources() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	for name := range n.positions {
		list = append(list, name)
	}
	return list
}

// config is one that reads a topic.
func config(w *world, topics ...string) kafka.Config {
	c := kafka.Default()
	c.Brokers = w.brokers
	c.CommitInterval, c.Fetch.MaxWait = 10*time.Millisecond, 50*time.Millisecond
	c.Topics = []kafka.Topic{}
	for _, topic := range topics {
		c.Topics = append(c.Topics, kafka.Topic{Name: topic})
	}
	return c
}

// options wire a consumer to the node.
func (n *node) options(c kafka.Config) kafka.Options {
	if err := c.Validate(event.DefaultTypes()); err != nil {
		n.t.Fatal(err)
	}
	return kafka.Options{
		Config: c, Log: n.appender, DeadLetters: n.log, Position: n.position, Sources: n.sources,
		Settled: func(context.Context) error { return nil }, LookEvery: 200 * time.Millisecond,
		Decoder: func(t *kafka.Topic) (format.Decoder, error) { return format.New(t.Config, t.Mapping, nil, nil) },
		Logger:  slog.New(slog.NewTextHandler(n.t.Output(), nil)),
	}
}

func (n *node) start(o kafka.Options) *kafka.Consumer {
	n.t.Helper()
	consumer, err := kafka.Start(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.consumer = consumer
	return consumer
}

func (n *node) stop() {
	if n.consumer != nil {
		n.consumer.Close()
		n.consumer = nil
	}
}

func (n *node) close() {
	n.stop()
	if n.appender != nil {
		if err := n.appender.Close(); err != nil {
			n.t.Error(err)
		}
		if err := n.log.Close(); err != nil {
			n.t.Error(err)
		}
		n.appender = nil
	}
}

// until waits until something is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// of are the items of a partition.
func (n *node) of(topic string, partition int32) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.items[kafka.Source(topic, partition)])
}

// expects is how often the log says that records of a partition are to come.
func (n *node) expects(topic string, partition int32) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.expected[kafka.Source(topic, partition)]
}

// count is how many items there are of a topic.
func (n *node) count(topic string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for source, items := range n.items {
		if of, _ := kafka.TopicOf(source); of == topic {
			count += len(items)
		}
	}
	return count
}

// wantInOrder checks that a partition has the items from n to m-1 and no other.
func (n *node) wantInOrder(topic string, partition int32, from, to int) {
	n.t.Helper()
	until(n.t, fmt.Sprintf("%s/%d to %d", topic, partition, to), func() bool { return len(n.of(topic, partition)) >= to-from })
	got := n.of(topic, partition)
	for i := from; i < to; i++ {
		if got[i-from] != fmt.Sprint(i) {
			n.t.Fatalf("%s/%d: item %d is %s", topic, partition, i, got[i-from])
		}
	}
	if len(got) != to-from {
		n.t.Errorf("%s/%d: %d items, want %d", topic, partition, len(got), to-from)
	}
}

// committed is what the group has committed.
func (w *world) committed(group, topic string, partition int32) int64 {
	w.t.Helper()
	list, err := w.admin.FetchOffsets(w.t.Context(), group)
	if err != nil { // there is no such group yet
		return -1
	}
	o, ok := list.Lookup(topic, partition)
	if !ok {
		return -1
	}
	return o.At
}

// Records are read once each and in order, over stops and starts, and what is
// committed is what is in the log. A bad one is a dead letter.
func TestReadsEachRecordOnce(t *testing.T) {
	for _, assignment := range []string{kafka.AssignGroup, kafka.AssignFixed} {
		t.Run(assignment, func(t *testing.T) {
			w := newWorld(t, 3, "a", "b")
			c := config(w, "a", "b")
			c.Assignment = assignment
			fs := vfs.NewMem()
			for round := range 3 {
				n := newNode(t, fs)
				n.start(n.options(c))
				for partition := range int32(3) {
					w.produce("a", partition, "not an event", `{"movieId":1}`)
					w.produceEvents("a", partition, 100*round, 100*round+100)
				}
				w.produceEvents("b", 1, 10*round, 10*round+10)
				for partition := range int32(3) {
					n.wantInOrder("a", partition, 0, 100*round+100)
					until(t, "a commit", func() bool { return w.committed("millrace", "a", partition) == int64(102*round+102) })
				}
				n.wantInOrder("b", 1, 0, 10*round+10)
				if got := n.log.DeadLetterCount(); got != 6*(round+1) {
					t.Errorf("%d dead letters in round %d", got, round)
				}
				list, _, err := n.log.DeadLetters("", 2)
				if err != nil || !strings.Contains(list[0].Error, "kafka:a/") || !strings.Contains(list[1].Error, "@1: user_id: expected a string or a whole number") {
					t.Errorf("%+v, %v", list, err)
				}
				s := n.consumer.Status()
				if len(s.Problems) > 0 || n.consumer.Err() != nil || s.Topics[0].Records != 306 || s.Topics[0].Bad != 6 || s.Topics[1].Records != 10 || len(s.Partitions) != 6 {
					t.Errorf("%+v", s)
				}
				n.close()
			}
		})
	}
}

// A partition begins where the configuration says, once: from then on the log
// decides, whatever is committed.
func TestStarts(t *testing.T) {
	w := newWorld(t, 2, "a")
	w.produceEvents("a", 0, 0, 20)
	time.Sleep(5 * time.Millisecond)
	middle := time.Now()
	time.Sleep(5 * time.Millisecond)
	w.produceEvents("a", 0, 20, 30)
	for _, c := range []struct {
		start string
		from  int
	}{
		{"earliest", 0}, {"latest", 30}, {"stored", 7},
		{middle.Format(time.RFC3339Nano), 20}, {time.Now().Add(time.Hour).Format(time.RFC3339), 30},
	} {
		for _, assignment := range []string{kafka.AssignGroup, kafka.AssignFixed} {
			t.Run(c.start+" "+assignment, func(t *testing.T) {
				w := *w
				w.t = t
				settings := config(&w, "a")
				settings.Start, settings.Assignment, settings.Group = c.start, assignment, "g"+fmt.Sprint(c.from)+assignment
				if c.start == kafka.StartStored {
					stored := kadm.Offsets{}
					stored.Add(kadm.Offset{Topic: "a", Partition: 0, At: 7, LeaderEpoch: -1})
					if err := w.admin.CommitAllOffsets(t.Context(), settings.Group, stored); err != nil {
						t.Fatal(err)
					}
				}
				fs := vfs.NewMem()
				n := newNode(t, fs)
				n.start(n.options(settings))
				until(t, "a position", func() bool { _, known := n.position(kafka.Source("a", 0)); return known })
				n.wantInOrder("a", 0, c.from, 30)
				n.close()
				again := newNode(t, fs) // without having read anything, in the case of latest
				settings.Start, settings.Group = "earliest", settings.Group+"2"
				again.start(again.options(settings))
				until(t, "an assignment", func() bool { return len(again.consumer.Status().Partitions) == 2 })
				again.wantInOrder("a", 0, c.from, 30)
				until(t, "event time to wait for a partition without records", func() bool { return again.expects("a", 1) >= 2 })
			})
		}
	}
}

// Where none of the topics is there that are read by default, it is said that one
// is wanted; then that one is read, and the others are not missed.
func TestDefaultTopics(t *testing.T) {
	w := newWorld(t, 1, "other")
	settings := config(w)
	settings.Topics = nil
	n := newNode(t, vfs.NewMem())
	n.start(n.options(settings))
	until(t, "the topics to be missed", func() bool {
		err := n.consumer.Err()
		return err != nil && strings.Contains(err.Error(), "none of the topics that are read by default is there (user-events, user_browse_topic, ")
	})
	if _, err := w.admin.CreateTopics(t.Context(), 1, 1, nil, "watched-movies"); err != nil {
		t.Fatal(err)
	}
	w.produceEvents("watched-movies", 0, 0, 5)
	n.wantInOrder("watched-movies", 0, 0, 5)
	until(t, "all to be well", func() bool { return n.consumer.Err() == nil })
}

// A topic that is made later is read from then on, and so are partitions that
// are added: from their beginning, whatever the start.
func TestTopicsAndPartitionsThatCome(t *testing.T) {
	for _, assignment := range []string{kafka.AssignGroup, kafka.AssignFixed} {
		t.Run(assignment, func(t *testing.T) {
			w := newWorld(t, 1, "there")
			c := config(w, "there", "later")
			c.Assignment, c.Start = assignment, kafka.StartLatest
			n := newNode(t, vfs.NewMem())
			n.start(n.options(c))
			until(t, "the missing topic to be told", func() bool {
				return len(n.consumer.Status().Problems) == 1 && strings.Contains(n.consumer.Status().Problems[0], "there is no topic later")
			})
			until(t, "a position", func() bool { _, known := n.position(kafka.Source("there", 0)); return known })
			w.produceEvents("there", 0, 0, 5)
			n.wantInOrder("there", 0, 0, 5)
			if _, err := w.admin.CreateTopics(t.Context(), 1, 1, nil, "later"); err != nil {
				t.Fatal(err)
			}
			if _, err := w.admin.CreatePartitions(t.Context(), 1, "there"); err != nil {
				t.Fatal(err)
			}
			w.produceEvents("there", 1, 0, 7)
			until(t, "the new topic", func() bool { _, known := n.position(kafka.Source("later", 0)); return known })
			w.produceEvents("later", 0, 0, 3)
			n.wantInOrder("later", 0, 0, 3)
			n.wantInOrder("there", 1, 0, 7)
			until(t, "no problem", func() bool { return n.consumer.Err() == nil })
		})
	}
}
