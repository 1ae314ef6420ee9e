package forward_test

import (
	"testing"
	"time"

	"millrace/internal/kafkaclient"
	"millrace/internal/services"
	"millrace/serve/forward"
)

// A topic that is deleted and made anew takes records again.
func TestATopicMadeAnew(t *testing.T) {
	broker := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"events": 2}})
	config := kafkaclient.Default()
	config.Brokers = []string{broker.Address}
	topic, err := forward.NewTopic(config, "events", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	send := func() error {
		sent, err := topic.Send([]forward.Record{{Key: []byte("u"), Value: []byte("{}")}})
		if err != nil {
			return err
		}
		<-sent.Done()
		return sent.Err()
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	admin := broker.Admin()
	if _, err := admin.DeleteTopics(t.Context(), "events"); err != nil {
		t.Fatal(err)
	}
	if err := send(); err == nil {
		t.Fatal("a topic that is not there took a record")
	}
	if _, err := admin.CreateTopics(t.Context(), 2, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if err = send(); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the new topic takes no records: %v, %v", err, topic.Err())
		}
	}
	if err := topic.Err(); err != nil {
		t.Error(err)
	}
}
