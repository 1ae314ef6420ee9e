package flink

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/internal/services"
	"millrace/reference"
)

// digest is of records in any order: how many, and the sum of their hashes.
type digest struct {
	records int
	sum     uint64
}

func (d *digest) add(key, value []byte) {
	d.records++
	d.sum += xxhash.Sum64(append(key[:len(key):len(key)], value...))
}

// generated is what the generator makes, as records of a topic.
func generated(t *testing.T, events int) (d digest) {
	t.Helper()
	g := reference.Generator{Events: uint64(events)}
	for p := range g.Partitions() {
		r, err := g.Open(p, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = r.Read(events, func(_ event.Time, e *reference.Event) {
			b := e.AppendRecord(nil)
			d.add(b[reference.EventKeyOffset:reference.EventKeyOffset+reference.EventKeyLength], b)
		})
	}
	return d
}

// committed reads what is committed in a topic until it is what is wanted, or
// nothing has come for so long, and says how long that took.
func committed(t *testing.T, broker *services.KafkaServer, topic string, want int, patience time.Duration) (d digest, took time.Duration) {
	t.Helper()
	c := broker.Client(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	began := time.Now()
	for last := began; time.Since(last) < patience && d.records < want; {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			d.add(r.Key, r.Value)
			last = time.Now()
		})
		stop()
	}
	return d, time.Since(began)
}

// TestSinkControl: a plain Java job with the sink that edges to topics have
// writes every record exactly once, with TaskManagers killed, to brokers with
// the older and the newer protocol of transactions. Right when the job has ended
// all is to be seen by readers of what is committed: no transaction of a killed
// attempt blocks them until it times out.
func TestSinkControl(t *testing.T) {
	t.Parallel()
	const events = 80_000 // 40 s at the rate of two subtasks, of which the kills take 7 if nothing else runs
	c := services.Flink(t, services.FlinkOptions{TaskManagers: 2, Slots: 1})
	control := filepath.Join(t.TempDir(), "control.jar")
	if out, err := exec.CommandContext(t.Context(), "jar", "--create", "--file", control, "--main-class", "millrace.flink.SinkControl",
		"-C", "target/test-classes", "millrace/flink/SinkControl.class").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, version := range []int{0, 2} {
		broker := services.Kafka(t, services.KafkaOptions{Features: map[string]int{"transaction.version": version}})
		namings := []string{"POOLING", "INCREMENTING"}
		if !soak() {
			namings = namings[version/2:][:1] // each protocol with one of them
		}
		for _, naming := range namings {
			t.Run(fmt.Sprintf("transaction.version %d %s", version, naming), func(t *testing.T) {
				topic := fmt.Sprintf("out-%d-%s", version, naming)
				broker.CreateTopic(topic, 2)
				ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
				defer stop()
				done := runPlain(ctx, t, c, "--parallelism", "2", "-Dexecution.checkpointing.interval=1 s", "-C", "file://"+jar(t),
					control, broker.Address, topic, strconv.Itoa(events), "1000", naming, "60000")
				for kills := range 2 {
					id := running(ctx, t, c)
					checkpointed(ctx, t, c, id, 2+3*kills)
					c.KillTaskManager(kills)
					c.StartTaskManager(kills)
				}
				done()
				ended := time.Now()
				got, took := committed(t, broker, topic, events, 90*time.Second)
				t.Logf("%d of %d records %.1f s after the job, readable after %.1f s", got.records, events, time.Since(ended).Seconds(), took.Seconds())
				if want := generated(t, events); got != want {
					t.Errorf("the topic has %v, want %v", got, want)
				} else if took > 20*time.Second {
					t.Errorf("readers were blocked for %v", took)
				}
			})
		}
	}
}

// runPlain runs a job that prints no result.
func runPlain(ctx context.Context, t *testing.T, c *services.FlinkCluster, arguments ...string) func() {
	t.Helper()
	command := c.Command(ctx, append([]string{"run"}, arguments...)...)
	ended := make(chan error, 1)
	go func() {
		out, err := command.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("flink run: %w\n%s", err, out[max(0, len(out)-4000):])
		}
		ended <- err
	}()
	return func() {
		t.Helper()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}
