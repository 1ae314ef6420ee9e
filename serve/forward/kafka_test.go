package forward_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafkaclient"
	"millrace/serve/forward"
)

// TestTopicThatIsMissing: before anything is sent it is known that there is no
// such topic, and that there is one, once it is made.
func TestTopicThatIsMissing(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	config := kafkaclient.Default()
	config.Brokers = cluster.ListenAddrs()
	topic, err := forward.NewTopic(config, "clicks", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	until := func(what string, good func(error) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !good(topic.Err()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, topic.Err())
			}
		}
	}
	until("of a topic that is missing nothing is said", func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "topic clicks: there is no such topic: create it")
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, "clicks"); err != nil {
		t.Fatal(err)
	}
	until("the topic is there", func(err error) bool { return err == nil })
}
