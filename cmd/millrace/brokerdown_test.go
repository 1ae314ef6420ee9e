package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/services"
)

// troubled is a server whose brokers can not be had.
type troubled struct {
	*testing.T
	*testServer
	config string // the file of its configuration
}

// kafkaReason is what health says of Kafka: "" if all is well. The server answers
// in any case.
func (s *troubled) kafkaReason() string {
	s.Helper()
	var health struct {
		Status     string
		Components struct {
			Systems map[string]struct{ Status, Reason string }
		}
	}
	if err := json.Unmarshal([]byte(mustExchange(s.T, http.MethodGet, s.url+"/v1/health", "")), &health); err != nil {
		s.Fatal(err)
	}
	reason := health.Components.Systems["kafka"].Reason
	if (health.Status == "degraded") != (reason != "") {
		s.Errorf("health is %s, and says %q of kafka", health.Status, reason)
	}
	return reason
}

// says demands the same words of health and of the log, and of millrace doctor,
// which fails.
func (s *troubled) says(words, ofDoctor string) {
	s.Helper()
	for began := time.Now(); !strings.Contains(s.kafkaReason(), words); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			s.Fatalf("health says %q, want %q", s.kafkaReason(), words)
		}
	}
	if text := s.log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, words) {
		s.Errorf("the log has no %q:\n%s", words, text)
	}
	out, err := run(s.T, s.Context(), "doctor", "--config", s.config, "--timeout", "5s")
	if err == nil || !strings.Contains(out, ofDoctor) {
		s.Errorf("doctor: %v, want %q:\n%s", err, ofDoctor, out)
	}
}

func startTroubled(t *testing.T, broker string) *troubled {
	t.Helper()
	text := fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\nkafka:\n  brokers: [%q]\n  dial_timeout: 2s\n  request_timeout: 2s\n", t.TempDir(), broker)
	cfg, err := loadText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	s := &troubled{T: t, testServer: started(t, cfg)}
	other := strings.Replace(text, cfg.Data, t.TempDir(), 1) // doctor looks at a directory that nobody has open
	s.config = fileOf(t, "millrace.yaml", other)
	return s
}

// With an address that is wrong the server starts and takes events over HTTP, and
// log, health and millrace doctor say in words what is wrong and what to do.
func TestWrongAddressesOfBrokers(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close) // after the subtests, which run when this function has returned
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, c := range []struct{ name, address, words, ofDoctor string }{
		{"nobody listens", closed.Listener.Addr().String(), "refuses connections: no broker runs there, or it listens on another address or port", "refuses connections"},
		{"no such host", "kafka.invalid:9092", "kafka.invalid", "kafka.brokers"},
		{"a web server", web.Listener.Addr().String(), "no broker answered in time", "a web server answers there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startTroubled(t, c.address)
			s.says(c.words, c.ofDoctor)
			answer := mustExchange(t, http.MethodPost, s.url+"/v1/events?wait=applied", `{"user_id":"u","item_id":"i","event_type":"view","timestamp":1760000000000}`)
			if !strings.Contains(answer, `"accepted":1`) {
				t.Errorf("an event is not taken: %s", answer)
			}
		})
	}
}

// A broker that goes down, or hangs, is told while it lasts; then reading goes on,
// and the log says so.
func TestABrokerThatGoesDown(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"user-events": 2}})
	s := startTroubled(t, broker.Address)
	client := broker.Client()
	l := lists{t, s.url}
	for i, c := range []struct {
		words, ofDoctor string
		down, up        func()
	}{
		{"refuses connections", "refuses connections", broker.Kill, broker.Start},
		{"in time", "in time", broker.Pause, broker.Resume},
	} {
		eventually(t, "all is well", func() bool { return s.kafkaReason() == "" })
		c.down()
		s.says(c.words, c.ofDoctor)
		c.up()
		item := fmt.Sprint("item-", i)
		value := fmt.Sprintf(`{"user_id":"u%d","item_id":%q,"event_type":"view","timestamp":%d}`, i, item, time.Now().UnixMilli())
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "user-events", Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		l.await("reading goes on", func() bool { return slices.Contains(l.items("/v1/trending?n=50"), item) })
	}
	eventually(t, "all is well", func() bool { return s.kafkaReason() == "" })
	if n := strings.Count(s.log.String(), `msg="kafka: works again"`); n < 2 {
		t.Errorf("that it works again is logged %d times:\n%s", n, s.log.String())
	}
	if out, _ := run(t, t.Context(), "doctor", "--config", s.config); strings.Contains(out, "failed  kafka") || !strings.Contains(out, "answers") {
		t.Errorf("doctor:\n%s", out)
	}
}
