package services

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaOptions choose what a broker offers. The zero value is a broker without
// TLS and logins that makes no topic by itself.
type KafkaOptions struct {
	// TLS adds a listener with TLS (TLSAddress). ClientCertificates makes it
	// demand a certificate of the same authority from clients.
	TLS, ClientCertificates bool
	// SASL adds listeners that demand a login: SASLAddress, and with TLS
	// SASLTLSAddress. User has Password with PLAIN, SCRAM-SHA-256 and
	// SCRAM-SHA-512.
	SASL bool
	// Authorize makes the broker check access lists: connections without a login
	// may do everything, User nothing that no access list allows it.
	Authorize bool
	// AutoCreateTopics makes a topic when a client asks for one that isn't there.
	AutoCreateTopics bool
	// Features are levels of features, such as transaction.version: 0 for the
	// transactions of brokers before 4.0. What is not named has the release's level.
	Features map[string]int
	// Topics to make at the beginning, and their numbers of partitions.
	Topics map[string]int32
	// Advertised are the addresses that clients are told, by the name of the listener
	// (PLAINTEXT, TLS, SASL, SASLTLS), where they are not the listeners' own.
	Advertised map[string]string
	// Properties are further lines of server.properties; they win.
	Properties map[string]string
}

// KafkaServer is one Apache Kafka broker in KRaft mode, its own controller.
type KafkaServer struct {
	Instance
	Address        string // HOST:PORT without TLS and login: always there
	TLSAddress     string
	SASLAddress    string
	SASLTLSAddress string
	Certificates

	home       string // where Kafka is installed
	controller string // HOST:PORT
	options    KafkaOptions
}

// Kafka starts a broker.
func Kafka(t testing.TB, options KafkaOptions) *KafkaServer {
	t.Helper()
	need(t)
	s := &KafkaServer{home: install(t, "kafka"), Address: localAddress(freePort(t)), controller: localAddress(freePort(t)), options: options}
	s.Instance = Instance{Name: "kafka", Dir: newDir(t, "kafka"), t: t, program: "java", answers: s.ready}
	if options.TLS {
		s.Certificates, s.TLSAddress = NewCertificates(t), localAddress(freePort(t))
	}
	if options.SASL {
		s.SASLAddress = localAddress(freePort(t))
	}
	if options.SASL && options.TLS {
		s.SASLTLSAddress = localAddress(freePort(t))
	}
	properties := filepath.Join(s.Dir, "server.properties")
	write(t, properties, s.properties())
	write(t, filepath.Join(s.Dir, "log4j2.properties"), kafkaLogging)
	s.format(properties)
	s.args = append(s.java(), "kafka.Kafka", properties)
	s.begin()
	s.prepare()
	return s
}

// Client returns a client of the listener without TLS that notices quickly what
// has changed. It is closed when the test ends.
func (s *KafkaServer) Client(options ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.Address), kgo.MetadataMinAge(50 * time.Millisecond)}, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// Admin returns an administrator of the listener without TLS.
func (s *KafkaServer) Admin() *kadm.Client {
	s.t.Helper()
	return kadm.NewClient(s.Client())
}

// CreateTopic makes a topic, and returns when its partitions have leaders: the
// brokers answer before they know of it themselves.
func (s *KafkaServer) CreateTopic(topic string, partitions int32) {
	s.t.Helper()
	if _, err := s.Admin().CreateTopic(s.t.Context(), partitions, 1, nil, topic); err != nil {
		s.t.Fatalf("kafka: topic %s: %v", topic, err)
	}
	ctx, stop := context.WithTimeout(s.t.Context(), startPatience)
	defer stop()
	for {
		metadata, err := s.Admin().Metadata(ctx, topic)
		if err == nil && metadata.Topics.Error() == nil && len(metadata.Topics[topic].Partitions) == int(partitions) && led(metadata.Topics) == nil {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("kafka: topic %s has no leaders: %v", topic, err)
		}
		time.Sleep(askInterval)
	}
}

// prepare makes the topics and the users' SCRAM credentials.
func (s *KafkaServer) prepare() {
	s.t.Helper()
	for topic, partitions := range s.options.Topics {
		s.CreateTopic(topic, partitions)
	}
	if !s.options.SASL {
		return
	}
	var all []kadm.UpsertSCRAM
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		all = append(all, kadm.UpsertSCRAM{User: User, Mechanism: mechanism, Iterations: 4096, Password: Password})
	}
	for _, one := range all { // one mechanism of a user per request
		if answers, err := s.Admin().AlterUserSCRAMs(s.t.Context(), nil, []kadm.UpsertSCRAM{one}); err != nil || answers.Error() != nil {
			s.t.Fatalf("kafka: SCRAM user: %v %v", err, answers.Error())
		}
	}
}

// ready succeeds once the broker has registered, leads the partitions that it
// has, and takes writes.
func (s *KafkaServer) ready(ctx context.Context) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(s.Address), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer c.Close()
	metadata, err := kadm.NewClient(c).Metadata(ctx)
	if err != nil {
		return err
	}
	if len(metadata.Brokers) == 0 {
		return errors.New("the broker has not registered yet")
	}
	return led(metadata.Topics)
}

// led returns an error unless all partitions have leaders.
func led(topics kadm.TopicDetails) error {
	for _, topic := range topics.Sorted() {
		for _, p := range topic.Partitions.Sorted() {
			if p.Err != nil || p.Leader < 0 {
				return fmt.Errorf("partition %d of %s has no leader", p.Partition, topic.Topic)
			}
		}
	}
	return nil
}
