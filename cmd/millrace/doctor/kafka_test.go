package doctor

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/internal/kafkaclient"
	"millrace/internal/services"
	"millrace/source/kafka"
	"millrace/view/redis"
)

// patience is how long a check may take in these tests.
const patience = 10 * time.Second

// run runs a check as the command does.
func run(t *testing.T, c Check) []Finding {
	t.Helper()
	return examine(t.Context(), []Check{c}, patience).Findings
}

// find demands a finding about a subject, in a state, with some words.
func find(t *testing.T, list []Finding, subject string, state State, words string) {
	t.Helper()
	for _, f := range list {
		if f.Subject == subject && f.State == state && strings.Contains(f.Text, words) {
			return
		}
	}
	t.Errorf("want %s of %s with %q, got %+v", state, subject, words, list)
}

func kafkaUse(brokers ...string) KafkaUse {
	use := KafkaUse{Config: kafkaclient.Default()}
	use.Brokers = brokers
	use.DialTimeout, use.RequestTimeout = 2*time.Second, 2*time.Second
	return use
}

func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestKafkaTopicsAndBrokers(t *testing.T) {
	t.Parallel()
	s := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"clicks": 3, "narrow": 1}})
	closed := closedAddress(t)
	use := kafkaUse(closed, s.Address)
	use.Group, use.TransactionalIDs = "readers", []string{"results"}
	use.Topics = []TopicUse{
		{Name: "clicks", Read: true}, {Name: "narrow", Read: true}, {Name: "missing", Read: true},
		{Name: "perhaps", Read: true, Optional: true}, {Name: "made", Write: true, Created: true},
	}
	list := run(t, Kafka(use))
	find(t, list, closed, Warning, "it refuses connections")
	find(t, list, s.Address, OK, "answers")
	find(t, list, "topic clicks", OK, "3 partitions")
	find(t, list, "topic narrow", Warning, "one partition")
	find(t, list, "topic missing", Failed, "create it")
	find(t, list, "topic perhaps", OK, "need not be")
	find(t, list, "topic made", OK, "will be made")
	find(t, list, "group readers", OK, "is new")
	find(t, list, "transactional id results", OK, "is new")
	use.Topics = []TopicUse{{Name: "perhaps", Read: true, Optional: true}, {Name: "made", Write: true, Created: true}}
	find(t, run(t, Kafka(use)), "topics", Warning, "create perhaps")
	s.Pause()
	list = run(t, Kafka(kafkaUse(s.Address)))
	find(t, list, s.Address, Failed, "in time")
	s.Resume()
}

// TestKafkaTopicOfFronts: the topic that fronts send events to has to be there,
// whether it is one of those that are read by default or another.
func TestKafkaTopicOfFronts(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for _, topic := range []string{"user-events", "clicks"} {
		s := Settings{Kafka: kafka.Default(), Redis: redis.DefaultConfig()}
		s.Kafka.Brokers, s.Redis.EventsTopic = cluster.ListenAddrs(), topic
		if topic == "user-events" {
			find(t, run(t, Kafka(s.kafka())), "topic "+topic, OK, "need not be")
		}
		s.Redis.Addresses = []string{"127.0.0.1:1"}
		list := run(t, Kafka(s.kafka()))
		find(t, list, "topic "+topic, Warning, "redis.events_topic")
		find(t, list, "topic rated-movies", OK, "need not be")
	}
}

// TestKafkaAdvertised: the broker answers, but tells its clients another address.
func TestKafkaAdvertised(t *testing.T) {
	t.Parallel()
	elsewhere := closedAddress(t)
	s := services.Kafka(t, services.KafkaOptions{
		SASL: true, Advertised: map[string]string{"SASL": elsewhere},
	})
	use := kafkaUse(s.SASLAddress)
	use.SASL = kafkaclient.SASL{Mechanism: kafkaclient.SASLPlain, Username: services.User, Password: services.Password}
	list := run(t, Kafka(use))
	find(t, list, s.SASLAddress, OK, "answers")
	find(t, list, elsewhere, Failed, "advertised.listeners")
	find(t, list, elsewhere, Failed, "refuses connections")
}

func TestKafkaSecurity(t *testing.T) {
	t.Parallel()
	s := services.Kafka(t, services.KafkaOptions{
		TLS: true, ClientCertificates: true, SASL: true, Authorize: true, Topics: map[string]int32{"clicks": 2, "secret": 2},
	})
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	other := services.NewCertificates(t)
	trusting := kafkaclient.TLS{Enabled: true, CAFile: s.CAFile, CertFile: s.ClientCertFile, KeyFile: s.ClientKeyFile}
	login := func(mechanism, password string) kafkaclient.SASL {
		return kafkaclient.SASL{Mechanism: mechanism, Username: services.User, Password: kafkaclient.Secret(password)}
	}
	right := login(kafkaclient.SASLScramSHA256, services.Password)
	for _, c := range []struct {
		name, broker string
		tls          kafkaclient.TLS
		sasl         kafkaclient.SASL
		want         string // empty: it answers
	}{
		{"tls", s.TLSAddress, trusting, kafkaclient.SASL{}, ""},
		{"sasl", s.SASLAddress, kafkaclient.TLS{}, right, ""},
		{"both", s.SASLTLSAddress, trusting, login(kafkaclient.SASLPlain, services.Password), ""},
		{"web server", web.Listener.Addr().String(), kafkaclient.TLS{}, kafkaclient.SASL{}, "a web server answers there"},
		{"tls wanted", s.TLSAddress, kafkaclient.TLS{}, kafkaclient.SASL{}, "kafka.tls"},
		{"tls not wanted", s.Address, trusting, kafkaclient.SASL{}, "kafka.tls.enabled"},
		{"unknown authority", s.TLSAddress, kafkaclient.TLS{Enabled: true, CAFile: other.CAFile}, kafkaclient.SASL{}, "kafka.tls.ca_file"},
		{"no certificate", s.TLSAddress, kafkaclient.TLS{Enabled: true, CAFile: s.CAFile}, kafkaclient.SASL{}, "kafka.tls.cert_file"},
		{"another name", s.TLSAddress, kafkaclient.TLS{Enabled: true, CAFile: s.CAFile, ServerName: "kafka.test"}, kafkaclient.SASL{}, "kafka.tls.server_name"},
		{"wrong password", s.SASLAddress, kafkaclient.TLS{}, login(kafkaclient.SASLPlain, "wrong"), "kafka.sasl.password"},
		{"wrong password, scram", s.SASLAddress, kafkaclient.TLS{}, login(kafkaclient.SASLScramSHA512, "wrong"), "kafka.sasl.password"},
		{"sasl wanted", s.SASLAddress, kafkaclient.TLS{}, kafkaclient.SASL{}, "kafka.sasl"},
		{"sasl not wanted", s.Address, kafkaclient.TLS{}, right, "kafka.sasl"},
	} {
		t.Run(c.name, func(t *testing.T) {
			use := kafkaUse(c.broker)
			use.TLS, use.SASL = c.tls, c.sasl
			list := run(t, Kafka(use))
			if c.want == "" {
				find(t, list, c.broker, OK, "answers")
				return
			}
			find(t, list, c.broker, Failed, c.want)
		})
	}
	t.Run("rights", func(t *testing.T) { kafkaRights(t, s, right) })
}

// kafkaRights gives a user one right after the other.
func kafkaRights(t *testing.T, s *services.KafkaServer, login kafkaclient.SASL) {
	use := kafkaUse(s.SASLAddress)
	use.SASL, use.Group, use.TransactionalIDs = login, "readers", []string{"results"}
	use.Creates, use.CreatePrefix = true, "sec"
	use.Topics = []TopicUse{{Name: "clicks", Read: true}, {Name: "secret", Write: true}}
	list := run(t, Kafka(use))
	find(t, list, "topic clicks", Failed, "describe it")
	find(t, list, "topics sec*", Warning, "0 are there, and the user may not make topics")
	find(t, list, "group readers", Failed, "consumer group")
	find(t, list, "transactional id results", Failed, "the transactional id")
	grant := func(b *kadm.ACLBuilder) {
		t.Helper()
		if _, err := s.Admin().CreateACLs(context.Background(), b.Allow("User:"+services.User).AllowHosts().ResourcePatternType(kadm.ACLPatternLiteral)); err != nil {
			t.Fatal(err)
		}
	}
	var offsets kadm.Offsets
	offsets.AddOffset("clicks", 0, 0, -1)
	if _, err := s.Admin().CommitOffsets(t.Context(), "readers", offsets); err != nil { // then there is such a group
		t.Fatal(err)
	}
	grant(kadm.NewACLs().Topics("clicks", "secret").Operations(kadm.OpDescribe))
	grant(kadm.NewACLs().Groups("readers").Operations(kadm.OpDescribe))
	list = run(t, Kafka(use))
	find(t, list, "topic clicks", Failed, "may not read")
	find(t, list, "topic secret", Failed, "may not write")
	find(t, list, "topic secret", Warning, "if results are published there")
	find(t, list, "group readers", Failed, "Read on the group")
	grant(kadm.NewACLs().Topics("clicks").Operations(kadm.OpRead))
	grant(kadm.NewACLs().Topics("secret").Operations(kadm.OpWrite))
	grant(kadm.NewACLs().Groups("readers").Operations(kadm.OpRead))
	grant(kadm.NewACLs().Clusters().Operations(kadm.OpDescribe, kadm.OpCreate))
	list = run(t, Kafka(use))
	find(t, list, "topics sec*", OK, "1 are there")
	find(t, list, "topic clicks", OK, "2 partitions")
	find(t, list, "topic secret", OK, "2 partitions")
	find(t, list, "group readers", OK, "")
}
