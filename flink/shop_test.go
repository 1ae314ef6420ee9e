package flink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/internal/services"
	"millrace/source/generate"
)

// The two sides that read the same topic. Each has a group, a prefix in Redis,
// and topics of its own.
const (
	embeddedSide = "embedded"
	flinkSide    = "flink"
)

const (
	shopPartitions = 3
	shopUsers      = 150
	shopItems      = 120
	// lateBy is how much older than its neighbours a late event is.
	lateBy = 2 * event.Minute
)

// shop is a deployment of real processes: a topic that a server reads by itself,
// and a cluster of Flink beside it.
type shop struct {
	t        *testing.T
	cluster  *services.FlinkCluster
	broker   *services.KafkaServer
	redis    *services.RedisServer
	database string
	dir      string
	embedded string // URL
	managers []int  // ids of all TaskManagers that ever were

	produced atomic.Int64
	endLoad  func()

	mutex sync.Mutex
	bad   map[string]string // where records are that are no events
}

func newShop(t *testing.T, slots int) *shop {
	s := &shop{t: t, dir: t.TempDir(), bad: map[string]string{}}
	jar(t)
	s.broker = services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"user-events": shopPartitions, "embedded.dead": 1}})
	s.redis = services.Redis(t)
	s.database = services.PostgreSQL(t).NewDatabase(t)
	s.cluster = services.Flink(t, services.FlinkOptions{TaskManagers: 2, Slots: slots, Config: map[string]string{
		// Threads of a job may be busy with a broker that does not answer.
		"task.cancellation.timeout": "60000",
	}})
	s.managers = []int{s.cluster.TaskManager(0).PID(), s.cluster.TaskManager(1).PID()}
	t.Cleanup(s.failures)
	s.embedded = s.serve(embeddedSide, freeAddress(t))
	s.stock()
	return s
}

// failures logs why jobs were restored, if the test has failed.
func (s *shop) failures() {
	var all struct{ Jobs []task }
	if !s.t.Failed() || s.cluster.Get(context.Background(), "/jobs/overview", &all) != nil {
		return
	}
	for _, job := range all.Jobs {
		var list struct {
			History struct {
				Entries []struct {
					Timestamp  int64
					TaskName   string
					Stacktrace string
				}
			} `json:"exceptionHistory"`
		}
		_ = s.cluster.Get(context.Background(), "/jobs/"+job.ID+"/exceptions", &list)
		for _, e := range list.History.Entries {
			s.t.Logf("%s %s: %s", time.UnixMilli(e.Timestamp).Format("15:04:05.000"), e.TaskName, causes(e.Stacktrace))
		}
	}
}

// causes are the first lines of the exceptions in a stack trace.
func causes(trace string) string {
	var list []string
	for line := range strings.Lines(trace) {
		if !strings.HasPrefix(line, "\t") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.Join(list, " | ")
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// config writes the configuration of a side, which servers and Flink share.
func (s *shop) config(side string) string {
	text := fmt.Sprintf(`
data: %[2]s/%[1]s
checkpoint_interval: 1s
catalog: {driver: postgres, dsn: %[3]q}
kafka:
  brokers: [%[4]q]
  group: %[1]s
  idle_timeout: 1h
  dead_letter_topic: %[1]s.dead
  tombstones: delete
  topics: [{topic: user-events}]
redis: {addresses: [%[5]q], prefix: %[1]s, cache: 0s}
publish: {enabled: true, name: %[1]s, prefix: %[1]s., partitions: 2, interval: 10m, classify: ["{type}", "age.{age}"]}
`, side, s.dir, s.database, s.broker.Address, s.redis.Address)
	file := filepath.Join(s.dir, side+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// serve starts a server with the configuration of a side, and returns its URL.
func (s *shop) serve(side, address string, flags ...string) string {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("%s-%s.log", side, address)))
	if err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command(binaryFile, append([]string{"serve", "--config", s.config(side), "--listen", address}, flags...)...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		log.Close()
		if s.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			s.t.Logf("server of %s %v:\n%s", side, flags, text[max(0, len(text)-3000):])
		}
	})
	url := "http://" + address
	s.until("the server of "+side, 20*time.Second, func() error {
		_, err := get(url + "/v1/health")
		return err
	})
	return url
}

// get is the answer to a request, without the id of the request.
func get(url string) (string, error) { return exchange(http.MethodGet, url, "") }

func exchange(method, url, body string) (string, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", url, answer.Status, b)
	}
	return string(b), err
}

// until tries something again until it has no error any more.
func (s *shop) until(what string, patience time.Duration, try func() error) {
	s.t.Helper()
	began := time.Now()
	for {
		err := try()
		if err == nil {
			s.t.Logf("%s: after %.1f s", what, time.Since(began).Seconds())
			return
		}
		if time.Since(began) > patience {
			s.t.Fatalf("%s: after %v: %v", what, patience, err)
		}
		time.Sleep(pollInterval)
	}
}

// traffic is what the shoppers do.
func traffic(t *testing.T) *generate.Generator {
	c := generate.DefaultConfig()
	c.Users, c.Items, c.EventIDs, c.EventsPerSecond, c.ItemInterval = shopUsers, shopItems, true, 2, 0
	g, err := generate.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// stock has the catalogue of both sides know all items and users.
func (s *shop) stock() {
	var items, users strings.Builder
	for c := range traffic(s.t).Catalogue() {
		if c.Item != nil {
			line, _ := json.Marshal(map[string]any{"item_id": c.Item.ID, "title": c.Item.Title, "categories": c.Item.Categories, "created": int64(c.Item.Created)})
			fmt.Fprintf(&items, "%s\n", line)
		}
	}
	for u := range shopUsers {
		fmt.Fprintf(&users, `{"user_id":"u%d","age":%d,"gender":%q}`+"\n", u+1, 15+u%50, []string{"f", "m", ""}[u%3])
	}
	for path, body := range map[string]string{"/v1/items": items.String(), "/v1/users": users.String()} {
		if _, err := exchange(http.MethodPost, s.embedded+path, body); err != nil {
			s.t.Fatal(err)
		}
	}
}

// load sends events to the topic, so many a second, until endLoad: all of a user
// in one partition, some late, some no events, some twice.
func (s *shop) load(perSecond int) {
	client := s.broker.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	g, random := traffic(s.t), rand.New(rand.NewPCG(1, 1))
	ctx, stop := context.WithCancel(s.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		began := time.Now()
		for n := 0; ctx.Err() == nil; n++ {
			e := g.Next().Event
			if e == nil {
				n--
				continue
			}
			for range 1 + n%53/52 {
				client.Produce(context.Background(), recordOf(e, n, random), s.sent)
			}
			if ahead := time.Duration(n) * time.Second / time.Duration(perSecond); ahead > time.Since(began) {
				time.Sleep(ahead - time.Since(began))
			}
		}
		if err := client.Flush(context.Background()); err != nil {
			s.t.Error(err)
		}
	})
	s.endLoad = sync.OnceFunc(func() {
		stop()
		done.Wait()
		s.t.Logf("%d records", s.produced.Load())
	})
	s.t.Cleanup(s.endLoad)
}

func (s *shop) sent(r *kgo.Record, err error) {
	if err != nil {
		s.t.Errorf("produce: %v", err)
	}
	if !json.Valid(r.Value) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.bad[fmt.Sprintf("%s %d %d", r.Topic, r.Partition, r.Offset)] = "x"
	}
	s.produced.Add(1)
}

func recordOf(e *event.Event, n int, random *rand.Rand) *kgo.Record {
	at := e.Time
	if n%31 == 30 {
		at -= lateBy
	}
	value := fmt.Appendf(nil, `{"event_id":%q,"user_id":%q,"item_id":%q,"event_type":%q,"timestamp":%d}`, e.ID, e.User, e.Item, e.Type, at)
	if n%97 == 96 {
		value = value[:1+random.IntN(len(value)-1)]
	}
	r := recordOfUser(e.User)
	r.Value = value
	return r
}

// recordOfUser is a record without a value: it deletes the user.
func recordOfUser(user string) *kgo.Record {
	return &kgo.Record{Topic: "user-events", Partition: int32(event.HashID(user) % shopPartitions), Key: []byte(user)}
}

var errNotYet = errors.New("not yet")

// caughtUp waits until a side has read all that is in the topic.
func (s *shop) caughtUp(side string) {
	s.t.Helper()
	admin := s.broker.Admin()
	s.until(side+" is at the end of the topic", 90*time.Second, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
		defer cancel()
		ends, err := admin.ListEndOffsets(ctx, "user-events")
		if err != nil {
			return err
		}
		offsets, err := admin.FetchOffsets(ctx, side)
		if err != nil {
			return err
		}
		for _, end := range ends["user-events"] {
			if at, ok := offsets.Lookup("user-events", end.Partition); !ok || at.At < end.Offset {
				return fmt.Errorf("%w: partition %d is at %d of %d", errNotYet, end.Partition, at.At, end.Offset)
			}
		}
		return nil
	})
}
