package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/services"
)

// seedTopics are the topics that are read by default, each with a record as the
// programs write it that Millrace takes the place of: of the user "seed-N", who
// nobody knows, about the item "N".
var seedTopics = []struct {
	topic, value string
	kind         string // of the event that it is
}{
	{"user_browse_topic", `["seed-1", "1", "2026-01-31 12:00:00"]`, "view"},
	{"user-events", `{"eventId":"e2","userId":"seed-2","itemId":"2","eventType":"LIKE","timestamp":1769860800000,"properties":{"page":"home"}}`, "like"},
	{"watched-movies", `{"userId":"seed-3","movieId":3,"title":"Heat","genres":["Crime"]}`, "view"},
	{"rated-movies", `{"userId":"seed-4","movieId":4,"rating":4.5}`, "rating"},
	{"favorite-movies", `{"userId":"seed-5","movieId":5}`, "like"},
}

// lists asks a server what it recommends to a user, and what is hot.
type lists struct {
	t   *testing.T
	url string
}

func (l lists) items(path string) (ids []string) {
	l.t.Helper()
	type item struct {
		ID string `json:"item_id"`
	}
	var list struct{ Items, Recommendations []item }
	if err := json.Unmarshal([]byte(mustExchange(l.t, http.MethodGet, l.url+path, "")), &list); err != nil {
		l.t.Fatal(err)
	}
	for _, i := range append(list.Items, list.Recommendations...) {
		ids = append(ids, i.ID)
	}
	return ids
}

func (l lists) recommended(user string) []string {
	return l.items("/v1/users/" + user + "/recommendations?n=50")
}

// await waits until a list is as wanted, and tells how long that took.
func (l lists) await(what string, ok func() bool) {
	l.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 20*time.Second {
			l.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
}

// One record in each of the topics that are read by default, and no other: it is
// an event of its kind, heats its item, and changes what others are recommended
// at once, before event time has gone on.
func TestTopicsOfTheSeeds(t *testing.T) {
	t.Parallel()
	topics := map[string]int32{"recommendation": 2}
	for _, s := range seedTopics {
		topics[s.topic] = 2
	}
	broker := services.Kafka(t, services.KafkaOptions{Topics: topics})
	cfg := testConfig(t.TempDir())
	cfg.Kafka.Brokers = []string{broker.Address}
	l := lists{t, started(t, cfg).url}
	if before := l.recommended("somebody"); len(before) > 0 {
		t.Fatalf("%v are recommended before there is anything", before)
	}
	client := broker.Client()
	produce := func(topic, value string) {
		t.Helper()
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range seedTopics {
		item, user := fmt.Sprint(i+1), fmt.Sprint("seed-", i+1)
		produce(s.topic, s.value)
		l.await(s.topic+": its item is hot", func() bool { return slices.Contains(l.items("/v1/trending?n=50&half_life=30d"), item) })
		if !slices.Contains(l.recommended("somebody"), item) {
			t.Errorf("%s: item %s is hot, and is not recommended to somebody new", s.topic, item)
		}
		if slices.Contains(l.recommended(user), item) {
			t.Errorf("%s: %s is recommended what the record says is known", s.topic, user)
		}
		profile := mustExchange(t, http.MethodGet, l.url+"/v1/users/"+user+"/profile", "")
		if !strings.Contains(profile, fmt.Sprintf(`"event_type":%q`, s.kind)) {
			t.Errorf("%s: want a %s in the profile, got %s", s.topic, s.kind, profile)
		}
	}
}

// The topic recommendation has the messages of the likes service. A shop whose
// own likes service writes it has it read as counters.
func TestTopicOfLikes(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"recommendation": 1}})
	cfg := testConfig(t.TempDir())
	cfg.Kafka.Brokers, cfg.Likes.Enabled = []string{broker.Address}, true
	l := lists{t, started(t, cfg).url}
	mustExchange(t, http.MethodPut, l.url+"/v1/users/ann", `{"age":30}`)
	if answer := mustExchange(t, http.MethodPost, l.url+"/recommendation/likes", `{"user_id":"ann","content_id":"n7","title":"News"}`); !strings.Contains(answer, `"code":0`) {
		t.Fatal(answer)
	}
	l.await("a like is recommended to others", func() bool { return slices.Contains(l.recommended("somebody"), "n7") })
	message := broker.Client(kgo.ConsumeTopics("recommendation")).PollFetches(t.Context()).Records()
	if len(message) != 1 || string(message[0].Value) != "n7:likes" {
		t.Fatalf("%v, want one record n7:likes", message)
	}
	reading, err := loadText(t, fmt.Sprintf("kafka: {brokers: [%q], topics: [{topic: recommendation, format: counter}]}", broker.Address))
	if err != nil {
		t.Fatal(err)
	}
	reading.Data, reading.Listen = t.TempDir(), "127.0.0.1:0"
	l.url = started(t, reading).url
	l.await("a message of the topic is recommended", func() bool { return slices.Contains(l.recommended("somebody"), "n7") })
}
