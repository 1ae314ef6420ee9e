package kafka

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is how reading goes.
type Status struct {
	// Problems are what does not work, in words, the gravest first; none if all
	// does.
	Problems   []string
	Partitions []PartitionStatus // by topic and number
	Topics     []TopicStatus     // by name
	// UnsentDeadLetters are records that the dead-letter topic did not take.
	UnsentDeadLetters uint64
	LastError         string
	LastErrorTime     time.Time // zero if there was none
}

// PartitionStatus is how far a partition has got.
type PartitionStatus struct {
	Topic     string
	Partition int32
	// Assigned says that this consumer reads it.
	Assigned bool
	// Next is the first record that is not durable in the log, End where the
	// partition ends, and Lag how many offsets lie between.
	Next, End, Lag uint64
	// Lost says why the partition is not read any more; empty if it is.
	Lost string
}

// TopicStatus counts what was read of a topic since the start.
type TopicStatus struct {
	Topic string
	// Records and Bytes were read, Bad were no events, and Repeated were dropped
	// as the log had them.
	Records, Bytes, Bad, Repeated uint64
}

// figures are what was read at once.
type figures struct{ records, bytes, bad, repeated uint64 }

// repeatEvery is how often a problem that goes on is logged again.
const repeatEvery = time.Minute

// status collects a Status. What kind of problem there is has a name, so that
// whoever met it can say that it is over.
type status struct {
	o *Options

	mu         sync.Mutex
	partitions map[string]*PartitionStatus
	topics     map[string]*TopicStatus
	problems   map[string]string    // by their name
	logged     map[string]time.Time // problems, when they were logged last
	unsentN    uint64
	last       string
	lastAt     time.Time
}

// The names of problems, in the order of their gravity. Those of a topic or a
// partition begin with problemOf.
const (
	problemReach   = "0 reach"   // brokers do not answer
	problemSession = "1 session" // reading ended with an error
	problemTopics  = "2 topics"  // topics are missing
	problemOf      = "3 "
	problemCommit  = "8 commit"
	problemLetters = "9 letters"
)

func (s *status) init(o *Options) {
	s.o = o
	s.partitions, s.topics = map[string]*PartitionStatus{}, map[string]*TopicStatus{}
	s.problems, s.logged = map[string]string{}, map[string]time.Time{}
	for _, t := range o.Config.topics() {
		s.topics[t.Name] = &TopicStatus{Topic: t.Name}
	}
}

// problem says what is wrong, or with no words that it is over. It is logged
// when it begins and now and then while it lasts.
func (s *status) problem(name, words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	before, had := s.problems[name]
	if words == "" {
		if had {
			delete(s.problems, name)
			delete(s.logged, name)
			s.o.Logger.Info("kafka: works again", "was", before)
		}
		return
	}
	s.problems[name], s.last, s.lastAt = words, words, now
	if words != before || now.Sub(s.logged[name]) >= repeatEvery {
		s.logged[name] = now
		s.o.Logger.Error("kafka: " + words)
	}
}

func (s *status) reach(words string)          { s.problem(problemReach, words) }
func (s *status) session(words string)        { s.problem(problemSession, words) }
func (s *status) missing(words string)        { s.problem(problemTopics, words) }
func (s *status) waiting(topic, words string) { s.problem(problemOf+topic, words) }
func (s *status) access(topic, words string)  { s.problem(problemOf+"access to "+topic, words) }
func (s *status) commit(words string)         { s.problem(problemCommit, commitWords(words)) }

func commitWords(words string) string {
	if words == "" {
		return ""
	}
	return "offsets are not committed, so that lag is not seen elsewhere; what is read is safe: " + words
}

// deadLetterTopic says why the dead-letter topic takes nothing, or how many of the
// last records were too large for it.
func (s *status) deadLetterTopic(words string, large int) {
	switch {
	case words != "":
		words = "kafka.dead_letter_topic takes nothing; the dead letters are in the log: " + words
	case large > 0:
		words = fmt.Sprintf("kafka.dead_letter_topic is without records that are larger than it takes, %d of the last; the dead letters are in the log: raise its max.message.bytes", large)
	}
	s.problem(problemLetters, words)
}

// lost says why a partition is not read any more.
func (s *status) lost(source, words string) {
	s.problem(problemOf+source, words)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(source).Lost = words
}

func (s *status) isLost(source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[source]
	return p != nil && p.Lost != ""
}

// partition is a partition's status. The caller holds mu.
func (s *status) partition(source string) *PartitionStatus {
	p := s.partitions[source]
	if p == nil {
		p = &PartitionStatus{}
		at := strings.LastIndexByte(source, '/')
		p.Topic = source[len(sourcePrefix):at]
		_, _ = fmt.Sscanf(source[at+1:], "%d", &p.Partition)
		s.partitions[source] = p
	}
	return p
}

// begin says that a partition is read from an offset on.
func (s *status) begin(p *partition, at uint64) {
	s.problem(problemOf+p.source, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.partition(p.source)
	status.Assigned, status.Next, status.Lost = true, at, ""
}

// released says that a partition is not read by this client any more.
func (s *status) released(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.partitions[source]; p != nil {
		p.Assigned = false
	}
}

func (s *status) durable(source string, next uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(source).Next = next
}

func (s *status) end(source string, end uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.partitions[source]; p != nil {
		p.End = end
	}
}

// read counts what was handed over: then a session works.
func (s *status) read(p *partition, f *figures) {
	s.mu.Lock()
	t := s.topics[p.topic.Name]
	t.Records += f.records
	t.Bytes += f.bytes
	t.Bad += f.bad
	t.Repeated += f.repeated
	s.mu.Unlock()
	s.session("")
}

func (s *status) unsent(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsentN += uint64(n)
}

// Status is how reading goes.
func (c *Consumer) Status() Status {
	s := &c.status
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{UnsentDeadLetters: s.unsentN, LastError: s.last, LastErrorTime: s.lastAt}
	for _, name := range slices.Sorted(maps.Keys(s.problems)) {
		out.Problems = append(out.Problems, s.problems[name])
	}
	for _, p := range s.partitions {
		p := *p
		p.Lag = max(p.End, p.Next) - p.Next
		out.Partitions = append(out.Partitions, p)
	}
	slices.SortFunc(out.Partitions, func(a, b PartitionStatus) int {
		if a.Topic != b.Topic {
			return strings.Compare(a.Topic, b.Topic)
		}
		return int(a.Partition - b.Partition)
	})
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		out.Topics = append(out.Topics, *s.topics[name])
	}
	return out
}

// Err is nil while everything is read that should be, or says in words what is
// not.
func (c *Consumer) Err() error {
	if problems := c.Status().Problems; len(problems) > 0 {
		return errors.New("kafka: " + strings.Join(problems, "; "))
	}
	return nil
}
