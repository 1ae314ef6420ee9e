package kafka_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/services"
	"millrace/source/kafka"
)

// badRecords are values that are no events and do not compress.
func badRecords(count, bytes int) []string {
	random, list := rand.NewChaCha8([32]byte{7}), make([]string, count)
	for i := range list {
		b := make([]byte, bytes)
		_, _ = random.Read(b)
		list[i] = string(b)
	}
	return list
}

// A real broker's dead-letter topic gets thousands of bad records that are read
// at once, more than a batch may have. One that is made anew while it is written
// gets those that come then, but for what is larger than it takes.
func TestARealBrokersDeadLetterTopic(t *testing.T) {
	s := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"a": 1, "dead": 1}})
	w := connect(t, s.Address)
	n := newNode(t, vfs.NewMem())
	c := config(w, "a")
	c.DeadLetterTopic = "dead"
	o := n.options(c)
	var ahead atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	next := uint64(0)
	for range 16 {
		w.produce("a", 0, badRecords(500, 600)...)
		next += 500
	}
	n.start(o)
	passed := func() {
		t.Helper()
		until(t, "bad records to be passed", func() bool { at, _ := n.position(kafka.Source("a", 0)); return at == next })
	}
	sent := func() int64 {
		t.Helper()
		ends, err := w.admin.ListEndOffsets(t.Context(), "dead")
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup("dead", 0)
		return end.Offset
	}
	passed()
	if got, unsent := sent(), n.consumer.Status().UnsentDeadLetters; got != 8000 || unsent != 0 {
		t.Errorf("the topic has %d records of 8000, and %d are counted as not sent", got, unsent)
	}

	if _, err := w.admin.DeleteTopics(t.Context(), "dead"); err != nil {
		t.Fatal(err)
	}
	most := "10000"
	if _, err := w.admin.CreateTopics(t.Context(), 1, 1, map[string]*string{"max.message.bytes": &most}, "dead"); err != nil {
		t.Fatal(err)
	}
	w.produce("a", 0, badRecords(1, 10)...) // by which it is noticed
	next++
	passed()
	ahead.Add(int64(time.Minute)) // the topic is left alone for a while
	before := n.consumer.Status().UnsentDeadLetters
	w.produce("a", 0, append(badRecords(40, 600), badRecords(1, 20_000)...)...)
	next += 41
	passed()
	if got, unsent := sent(), n.consumer.Status().UnsentDeadLetters-before; got != 40 || unsent != 1 {
		t.Errorf("the new topic has %d records of 41, and %d are counted as not sent: expected that of one that is too large", got, unsent)
	}
	if problems := n.consumer.Status().Problems; len(problems) != 1 {
		t.Errorf("problems: %q, expected that of the one record", problems)
	}
	w.produce("a", 0, badRecords(1, 10)...)
	next++
	passed()
	if status := n.consumer.Status(); sent() != 41 || len(status.Problems) != 0 {
		t.Errorf("%d records, %+v", sent(), status)
	}
}
