package kafkasource_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/internal/services"
	"millrace/source/kafka"
)

// TestKafkaKills kills and stops a real broker and a real server at random
// moments, both under load. At the end the log has every record of every
// partition exactly once and in order, each bad one is one dead letter, the
// group has committed all of it, and the state equals a clean replay.
func TestKafkaKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	broker := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"user-events": 3, "rated-movies": 2}})
	k := &killing{t: t, random: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), broker: broker}
	k.binary = filepath.Join(k.dir, "millrace")
	if out, err := exec.Command("go", "build", "-o", k.binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(t.Context())
	var producing sync.WaitGroup
	producing.Go(func() { k.produce(ctx) })
	k.start()
	for range 6 {
		time.Sleep(time.Duration(200+k.random.IntN(1500)) * time.Millisecond)
		k.break1()
	}
	time.Sleep(time.Second)
	stop()
	producing.Wait()
	k.catchUp()
	k.compare()
}

type killing struct {
	t      *testing.T
	random *rand.Rand
	dir    string
	binary string
	broker *services.KafkaServer
	server *exec.Cmd
	url    string
}

// break1 breaks one thing and mends it.
func (k *killing) break1() {
	pause := time.Duration(k.random.IntN(1500)) * time.Millisecond
	switch k.random.IntN(5) {
	case 0:
		k.broker.Kill()
		time.Sleep(pause)
		k.broker.Start()
	case 1:
		k.broker.Stop()
		time.Sleep(pause)
		k.broker.Start()
	case 2:
		k.kill()
		time.Sleep(pause)
		k.start()
	case 3:
		k.broker.Kill()
		k.kill()
		k.start() // which finds no broker
		time.Sleep(pause)
		k.broker.Start()
	default:
		k.broker.Pause()
		time.Sleep(pause)
		k.broker.Resume()
	}
}

func (k *killing) kill() {
	_ = k.server.Process.Kill()
	_ = k.server.Wait()
}

func (k *killing) start() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		k.t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	config := filepath.Join(k.dir, "config.yaml")
	text := fmt.Sprintf("listen: %s\ndata: %s\ncheckpoint_interval: 300ms\nkafka:\n  brokers: [%q]\n", address, filepath.Join(k.dir, "data"), k.broker.Address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	k.url = "http://" + address
	k.server = exec.Command(k.binary, "serve", "--config", config)
	k.server.Stderr = os.Stderr
	if !testing.Verbose() {
		k.server.Stderr = io.Discard
	}
	if err := k.server.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(k.kill)
	until(k.t, "the server to be ready", 20*time.Second, func() bool {
		r, err := http.Get(k.url + "/v1/health")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// produce sends events, some of them bad, as long as ctx allows.
func (k *killing) produce(ctx context.Context) {
	client := k.broker.Client(kgo.ProducerLinger(2 * time.Millisecond))
	for n := 0; ctx.Err() == nil; n++ {
		user := fmt.Sprint("u", n%50)
		value := fmt.Sprintf(`{"userId":%q,"itemId":"i%d","eventType":"CLICK","timestamp":%d}`, user, n%300, time.Now().UnixMilli())
		topic := "user-events"
		switch {
		case n%97 == 0:
			value = fmt.Sprintf(`{"userId":%q,"n":%d}`, user, n)
		case n%5 == 0:
			topic, value = "rated-movies", fmt.Sprintf(`{"userId":%q,"movieId":%d,"rating":%d}`, user, n%300, n%6)
		}
		client.Produce(context.Background(), &kgo.Record{Topic: topic, Key: []byte(user), Value: []byte(value)}, nil)
		if n%20 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if err := client.Flush(context.Background()); err != nil {
		k.t.Error(err)
	}
}

func until(t *testing.T, what string, within time.Duration, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// catchUp waits until everything is read and committed, and stops the server.
func (k *killing) catchUp() {
	until(k.t, "health to be ok", 60*time.Second, func() bool {
		r, err := http.Get(k.url + "/v1/health")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		return strings.Contains(string(body), `"status":"ok","components"`)
	})
	admin := k.broker.Admin()
	defer func() {
		if k.t.Failed() {
			k.metrics()
		}
	}()
	until(k.t, "all to be committed", 60*time.Second, func() bool {
		end, err := admin.ListEndOffsets(k.t.Context(), "user-events", "rated-movies")
		if err != nil {
			return false
		}
		stored, err := admin.FetchOffsets(k.t.Context(), "millrace")
		if err != nil {
			return false
		}
		for topic, partitions := range end {
			for id, o := range partitions {
				if c, ok := stored.Lookup(topic, id); o.Offset > 0 && (!ok || c.At != o.Offset) {
					return false
				}
			}
		}
		return true
	})
	_ = k.server.Process.Signal(os.Interrupt)
	if err := k.server.Wait(); err != nil {
		k.t.Errorf("the server ended with %v", err)
	}
}

// metrics logs what the server says of its topics.
func (k *killing) metrics() {
	r, err := http.Get(k.url + "/metrics")
	if err != nil {
		k.t.Log(err)
		return
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "millrace_kafka_") {
			k.t.Log(strings.TrimSpace(line))
		}
	}
}

// compare compares the log with the topics, and the state with a replay.
func (k *killing) compare() {
	good, bad := k.topics()
	log, err := eventlog.Open(filepath.Join(k.dir, "data", "log"), eventlog.Options{ReadOnly: true})
	if err != nil {
		k.t.Fatal(err)
	}
	got := map[string][]string{}
	err = log.Scan(1, func(b *eventlog.Block) error {
		r := wire.NewReader(b.Payload)
		for _, run := range b.Runs {
			for range run.Count {
				var e event.Event
				event.ReadEvent(r, &e, nil)
				got[run.Partition] = append(got[run.Partition], e.User+" "+e.Item)
			}
		}
		return r.Err()
	})
	if err != nil {
		k.t.Fatal(err)
	}
	events := 0
	for source, want := range good {
		events += len(want)
		if !slices.Equal(got[source], want) {
			k.t.Errorf("%s: %d events in the log, and %d in the topic", source, len(got[source]), len(want))
		}
	}
	if n := log.DeadLetterCount(); n != bad {
		k.t.Errorf("%d dead letters of %d bad records", n, bad)
	}
	if err := log.Close(); err != nil {
		k.t.Error(err)
	}
	out, err := exec.Command(k.binary, "verify", "--data", filepath.Join(k.dir, "data"), "--json").Output()
	var result struct {
		Equal  bool
		Events int
	}
	if e := json.Unmarshal(out, &result); err != nil || e != nil || !result.Equal || result.Events != events {
		k.t.Errorf("verify: %s, %v, %v; want %d events", out, err, e, events)
	}
	k.t.Logf("%d events, %d bad records", events, bad)
}

// topics reads what the topics hold: the events of each partition, and how many
// records are none.
func (k *killing) topics() (good map[string][]string, bad int) {
	good = map[string][]string{}
	end, err := k.broker.Admin().ListEndOffsets(k.t.Context(), "user-events", "rated-movies")
	if err != nil {
		k.t.Fatal(err)
	}
	left := int64(0)
	for _, partitions := range end {
		for _, o := range partitions {
			left += o.Offset
		}
	}
	client := k.broker.Client(kgo.ConsumeTopics("user-events", "rated-movies"))
	for left > 0 {
		for _, r := range client.PollFetches(k.t.Context()).Records() {
			left--
			var v struct {
				UserID  string          `json:"userId"`
				ItemID  string          `json:"itemId"`
				MovieID json.RawMessage `json:"movieId"`
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				k.t.Fatal(err)
			}
			if item := v.ItemID + string(v.MovieID); item != "" {
				source := kafka.Source(r.Topic, r.Partition)
				good[source] = append(good[source], v.UserID+" "+item)
			} else {
				bad++
			}
		}
	}
	return good, bad
}
