package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topicPartitions = 4
	topicPatience   = 10 * time.Minute // until all of a topic has come through
)

// measureTopics fills a topic and has servers read it into new directories: one
// that only reads, and one that publishes its results to other topics.
func measureTopics(ctx context.Context, binary, broker string, events int) (figures []figure, err error) {
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	topic := fmt.Sprint("bench-", time.Now().UnixNano())
	took, err := fillTopic(ctx, binary, broker, topic, events)
	if err != nil {
		return nil, err
	}
	figures = append(figures, figure{fmt.Sprintf("this tool fills a topic with %d events of %d partitions", events, topicPartitions), "", perSecond(events, took)})
	read, err := readTopic(ctx, binary, dir, broker, topic, events, false)
	if err != nil {
		return figures, err
	}
	figures = append(figures,
		figure{"topic to log, durable, while all operators work", "", perSecond(events, read.durable)},
		figure{"topic to visible answers", "", perSecond(events, read.visible)},
		figure{"CPU per million events", "", perMillion(events, read.cpu)})
	published, err := readTopic(ctx, binary, dir, broker, topic, events, true)
	if err != nil {
		return figures, err
	}
	return append(figures,
		figure{fmt.Sprintf("the same with publishing, %d results in transactions", published.results), "",
			fmt.Sprintf("%.0f events/s, %.0f results/s (%.1f s)", float64(events)/published.published.Seconds(),
				float64(published.results)/published.published.Seconds(), published.published.Seconds())},
		figure{"CPU per million events", "", perMillion(events, published.cpu)}), nil
}

func perSecond(n int, d time.Duration) string {
	return fmt.Sprintf("%.0f/s (%.1f s)", float64(n)/d.Seconds(), d.Seconds())
}

func perMillion(n int, cpu time.Duration) string {
	return fmt.Sprintf("%.1f s", cpu.Seconds()/float64(n)*1e6)
}

// fillTopic makes a topic of generated traffic, keyed by user, and returns how
// long it was produced.
func fillTopic(ctx context.Context, binary, broker, topic string, events int) (time.Duration, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, topicPartitions, 1, nil, topic); err != nil {
		return 0, fmt.Errorf("create topic %s: %w", topic, err)
	}
	c := exec.CommandContext(ctx, binary, "generate", "--events", strconv.Itoa(events), "--users", "20000", "--items", "5000", "--seed", "1")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("generate traffic: %w", err)
	}
	failed := make(chan error, 1)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, after, ok := bytes.Cut(lines.Bytes(), []byte(`"user_id":"`))
		if !ok || bytes.HasPrefix(lines.Bytes(), []byte(`{"put_`)) {
			continue // the catalogue does not come by this topic
		}
		user, _, _ := bytes.Cut(after, []byte(`"`))
		client.Produce(ctx, &kgo.Record{Key: bytes.Clone(user), Value: bytes.Clone(lines.Bytes())}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := c.Wait(); err != nil {
		return 0, fmt.Errorf("generate traffic: %w", err)
	}
	if err := client.Flush(ctx); err != nil {
		return 0, err
	}
	select {
	case err := <-failed:
		return 0, fmt.Errorf("fill topic %s: %w", topic, err)
	default:
		return time.Since(began), nil
	}
}

// passage is how a server takes a topic, from its start on.
type passage struct {
	durable, visible, published time.Duration
	cpu                         time.Duration // of the server, to the last of them
	results                     int
}

// readTopic has a new server read all of a topic, and publish its results if it
// is to.
func readTopic(ctx context.Context, binary, dir, broker, topic string, events int, publish bool) (p passage, err error) {
	ctx, cancel := context.WithTimeout(ctx, topicPatience)
	defer cancel()
	name := fmt.Sprint(topic, "-", publish)
	settings := fmt.Sprintf("kafka:\n  brokers: [%q]\n  group: %s\n  topics: [{topic: %s, out_of_orderness: 10s}]\npublish: {enabled: %t, name: %[2]s, prefix: %[2]s.}\n",
		broker, name, topic, publish)
	path := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		return p, err
	}
	began := time.Now()
	s, _, err := start(ctx, binary, filepath.Join(dir, name), "--config", path)
	if err != nil {
		return p, err
	}
	defer s.stop()
	for ctx.Err() == nil {
		m, err := s.metrics()
		if err != nil {
			return p, err
		}
		now := time.Since(began)
		if p.durable == 0 && int(m["millrace_kafka_position"]) >= events {
			p.durable = now
		}
		if p.visible == 0 && p.durable > 0 && int(m["millrace_events"]) >= events {
			p.visible = now
		}
		if p.visible > 0 && m["millrace_publish_waiting_records"] == 0 {
			p.published, p.results, p.cpu = now, int(m["millrace_published_records_total"]), cpuOf([]*server{s})
			return p, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return p, fmt.Errorf("topic %s was not read to its end: %w", topic, ctx.Err())
}

// metrics are the server's, those of one name added up.
func (s *server) metrics() (map[string]float64, error) {
	r, err := http.Get(s.url + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		name, _, _ := strings.Cut(line[:at], "{")
		all[name] += v
	}
	return all, nil
}

// userPrefix begins the names of the users that were loaded: those of MovieLens
// are numbers, those of generated traffic u1, u2 and so on.
func userPrefix(url string) (string, error) {
	for _, prefix := range []string{"", "u"} {
		r, err := http.Get(url + "/v1/users/" + prefix + "1/profile")
		if err != nil {
			return "", err
		}
		var profile struct {
			Seen int `json:"seen_items"`
		}
		err = json.NewDecoder(r.Body).Decode(&profile)
		r.Body.Close()
		if err != nil {
			return "", fmt.Errorf("a profile: %w", err)
		}
		if profile.Seen > 0 {
			return prefix, nil
		}
	}
	return "", nil
}
