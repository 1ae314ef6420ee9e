package front

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/internal/kafkaclient"
	"millrace/view/redis"
)

// TestMissingTopics: health names the topic that is missing, that of events and
// that of dead letters.
func TestMissingTopics(t *testing.T) {
	for _, c := range []struct{ there, missing string }{{"letters", "clicks"}, {"clicks", "letters"}} {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, c.there))
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		o := Options{Kafka: kafkaclient.Default(), Redis: redis.Config{EventsTopic: "clicks"}, DeadLetterTopic: "letters"}
		o.Kafka.Brokers = cluster.ListenAddrs()
		f := &front{options: o}
		stop, err := f.openTopics()
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		for end := time.Now().Add(20 * time.Second); f.kafkaErr() == nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
		if err := f.kafkaErr(); err == nil || !strings.Contains(err.Error(), "topic "+c.missing+": there is no such topic") {
			t.Errorf("of the topic %s that is missing it says %v", c.missing, err)
		}
	}
}

// TestDeadLettersGoWhereEventsGo: what a client could make no events of is not
// the engine's business where events go to a topic.
func TestDeadLettersGoWhereEventsGo(t *testing.T) {
	f := &front{passed: http.NotFoundHandler()}
	for _, method := range []string{"GET", "POST"} {
		if f.forward(method+" /v1/deadletters") == nil {
			t.Errorf("%s is not passed on", method)
		}
	}
	f.topic = &topicIngest{}
	if f.forward("POST /v1/deadletters") != nil || f.forward("GET /v1/deadletters") == nil {
		t.Error("with a topic only those that are sent are answered here")
	}
}
