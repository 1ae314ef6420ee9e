package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/cmd/millrace/worker"
	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend"
	"millrace/source/generate"
	"millrace/view/redis"
	"millrace/view/redis/redistest"
)

const (
	hostedPartitions = 3
	hostedEvents     = 4000
)

// hostedJob is the job of a configuration on workers in this process.
type hostedJob struct {
	t       *testing.T
	plan    *flink.Plan
	builder *worker.Builder
	views   flink.Views // instead of the configuration's
	topics  []kept
	cluster *flinktest.Cluster
	random  *rand.Rand
}

// kept is a raw record.
type kept struct {
	partition  int
	at         event.Time
	key, value []byte
}

// planWorker is the plan of a configuration, and what builds its programs.
func planWorker(t *testing.T, text string) (*flink.Plan, *worker.Builder) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := worker.NewBuilder(workerWiring(), slog.New(slog.DiscardHandler))
	plan, _, err := b.Plan(context.Background(), file)
	if err != nil {
		t.Fatal(err)
	}
	return plan, b
}

// userEvents are records of user-events, by user: generated traffic in JSON, some
// of it no events, and the deletion of a user now and then.
func userEvents(t *testing.T) (list []kept) {
	t.Helper()
	c := generate.DefaultConfig()
	c.Users, c.Items, c.EventIDs, c.EventsPerSecond = 100, 80, true, 2
	r, err := generate.NewReader(c, hostedEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; ; n++ {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		e := record.Event
		if e == nil {
			continue
		}
		k := kept{int(event.HashID(e.User) % hostedPartitions), e.Time, []byte(e.User), fmt.Appendf(nil,
			`{"event_id":%q,"user_id":%q,"item_id":%q,"event_type":%q,"timestamp":%d}`, e.ID, e.User, e.Item, e.Type, e.Time)}
		switch {
		case n%211 == 0:
			k.value = []byte(`{"user_id":`)
		case n%701 == 0:
			k.value = nil
		}
		list = append(list, k)
	}
}

func (j *hostedJob) start(from flinktest.Snapshot) {
	j.t.Helper()
	build := func(b []byte) (*flink.Program, error) {
		p, err := j.builder.Build(b)
		if err == nil && j.views != nil {
			p.Views = j.views
		}
		return p, err
	}
	var raw []string
	for p := range hostedPartitions {
		raw = append(raw, fmt.Sprint("user-events/", p))
	}
	var err error
	j.cluster, err = flinktest.New(flinktest.Options{
		Plan: j.plan, Raw: raw, Subtasks: 1 + j.random.IntN(3), Seed: j.random.Uint64(),
		Dial: flinktest.Local(flink.NewWorker(flink.Options{Build: build})),
	}, from)
	if err != nil {
		j.t.Fatal(err)
	}
}

// run reads everything, from a checkpoint again whenever a session has ended, and
// returns how often that was. break is called before every record.
func (j *hostedJob) run(before func(record int)) (restarts int) {
	j.t.Helper()
	j.start(nil)
	saved, from := 0, flinktest.Snapshot(nil)
	var offsets, savedOffsets [hostedPartitions]int64
	send := func(n int) error {
		k := j.topics[n]
		offsets[k.partition]++
		return j.cluster.SendRaw(k.partition, offsets[k.partition]-1, k.at, k.key, k.value)
	}
	for n := 0; n <= len(j.topics); n++ {
		before(n)
		var err error
		if n < len(j.topics) {
			err = send(n)
		}
		if err == nil && (n%500 == 250 || n == len(j.topics)) {
			if err = errors.Join(j.cluster.Checkpoint(), j.cluster.Drain()); err == nil {
				from, _ = j.cluster.Completed()
				saved, savedOffsets = n, offsets
			}
		}
		if err != nil {
			if restarts++; restarts > 20 || !errors.Is(err, flinktest.ErrWorker) {
				j.t.Fatal(err)
			}
			j.cluster.Kill()
			j.start(from)
			n, offsets = saved, savedOffsets
			if from == nil {
				n = -1
			}
		}
	}
	j.cluster.Kill()
	return restarts
}

// A configuration's job on Flink keeps its answers in Redis: those that it comes
// to without anything going wrong, also if Redis is emptied on the way.
func TestWorkersKeepAnswersInRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	broker, err := kfake.NewCluster(kfake.NumBrokers(1)) // where topics of results are made
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	text := fmt.Sprintf("kafka:\n  brokers: [%q]\n  topics: [{topic: user-events}]\n  dead_letter_topic: dead\n  tombstones: delete\nredis: {addresses: [%q]}\n"+
		"publish: {enabled: true}\n", broker.ListenAddrs()[0], server.Address)
	plan, builder := planWorker(t, text)
	want := operatortest.Views{}
	job := hostedJob{t: t, plan: plan, builder: builder, topics: userEvents(t), random: rand.New(rand.NewPCG(1, 1)), views: flinktest.Views(want.Put)}
	if n := job.run(func(int) {}); n != 0 {
		t.Fatalf("%d restarts", n)
	}
	job.views, job.random = nil, rand.New(rand.NewPCG(2, 2))
	emptied := false
	restarts := job.run(func(n int) {
		if n == 1700 && !emptied {
			emptied = true
			server.Do("FLUSHALL")
		}
	})
	if restarts == 0 {
		t.Error("no session has noticed that Redis was emptied")
	}
	c := redis.DefaultConfig()
	c.Addresses = []string{server.Address}
	client, err := redis.NewClient(c, recommend.Views())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got := map[string]string{}
		if err := client.Each(context.Background(), name, func(key string, v operator.Value) error {
			got[key] = bytesOf(t, v)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		expected := map[string]string{}
		for key, v := range want[name] {
			expected[key] = bytesOf(t, v)
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("view %s: %s", name, diff)
		}
		t.Logf("view %s: %d keys", name, len(got))
	}
	if len(want) < 8 {
		t.Errorf("only %d views", len(want))
	}
}

func bytesOf(t *testing.T, v operator.Value) string {
	t.Helper()
	b, err := v.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What does not run on Flink is told when the plan is made.
func TestPlansThatAreRefused(t *testing.T) {
	const kafka = "kafka:\n  brokers: [127.0.0.1:1]\n  topics: [{topic: user-events}]\n"
	for text, want := range map[string]string{
		"listen: 127.0.0.1:1\n":                            "a job on Flink reads Kafka",
		kafka + "  tls: {enabled: true, server_name: b}\n": "Flink takes the name of the address",
		kafka + "nonsense: 1\n":                            "nonsense",
	} {
		file := filepath.Join(t.TempDir(), "millrace.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := worker.NewBuilder(workerWiring(), slog.New(slog.DiscardHandler)).Plan(context.Background(), file)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
