package kafka_test

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/kafkaclient"
	"millrace/internal/services"
	"millrace/source/kafka"
)

// Every way in that a real broker has, and words for every wrong one.
func TestARealBrokersListeners(t *testing.T) {
	s := services.Kafka(t, services.KafkaOptions{
		TLS: true, ClientCertificates: true, SASL: true, Authorize: true, Topics: map[string]int32{"a": 2, "closed": 1},
	})
	w := connect(t, s.Address)
	allow := kadm.NewACLs().Topics("a").Groups("readers").ResourcePatternType(kadm.ACLPatternLiteral).
		Operations(kadm.OpRead, kadm.OpDescribe).Allow("User:" + services.User)
	if _, err := w.admin.CreateACLs(t.Context(), allow); err != nil {
		t.Fatal(err)
	}
	w.produceEvents("a", 0, 0, 10)
	w.produceEvents("a", 1, 0, 20)
	encrypted := kafkaclient.TLS{Enabled: true, CAFile: s.CAFile, CertFile: s.ClientCertFile, KeyFile: s.ClientKeyFile}
	anonymous := encrypted
	anonymous.CertFile, anonymous.KeyFile = "", ""
	stranger := anonymous
	stranger.CAFile = services.NewCertificates(t).CAFile
	login := func(mechanism string) kafkaclient.SASL {
		return kafkaclient.SASL{Mechanism: mechanism, Username: services.User, Password: services.Password}
	}
	wrong := login(kafkaclient.SASLScramSHA512)
	wrong.Password = "wrong"
	for _, c := range []struct {
		name, broker, topic, group string
		tls                        kafkaclient.TLS
		sasl                       kafkaclient.SASL
		want                       string // empty: it is read
	}{
		{"plaintext", s.Address, "a", "readers", kafkaclient.TLS{}, kafkaclient.SASL{}, ""},
		{"client certificate", s.TLSAddress, "a", "millrace", encrypted, kafkaclient.SASL{}, "may not use the"}, // its name has no rights
		{"plain", s.SASLAddress, "a", "readers", kafkaclient.TLS{}, login(kafkaclient.SASLPlain), ""},
		{"scram-256", s.SASLAddress, "a", "readers", kafkaclient.TLS{}, login(kafkaclient.SASLScramSHA256), ""},
		{"scram-512 with tls", s.SASLTLSAddress, "a", "readers", encrypted, login(kafkaclient.SASLScramSHA512), ""},
		{"wrong password", s.SASLAddress, "a", "readers", kafkaclient.TLS{}, wrong, "refuses the user or the password"},
		{"no login", s.SASLAddress, "a", "readers", kafkaclient.TLS{}, kafkaclient.SASL{}, "SASL (kafka.sasl)"},
		{"no certificate", s.TLSAddress, "a", "readers", anonymous, kafkaclient.SASL{}, "kafka.tls.cert_file"},
		{"unknown authority", s.TLSAddress, "a", "readers", stranger, kafkaclient.SASL{}, "kafka.tls.ca_file"},
		{"no tls there", s.Address, "a", "readers", encrypted, kafkaclient.SASL{}, "does not speak TLS"},
		{"tls wanted", s.TLSAddress, "a", "readers", kafkaclient.TLS{}, kafkaclient.SASL{}, "wants TLS"},
		{"no right to the topic", s.SASLAddress, "closed", "readers", kafkaclient.TLS{}, login(kafkaclient.SASLPlain), "may not use the topic"},
		{"no right to the group", s.SASLAddress, "a", "others", kafkaclient.TLS{}, login(kafkaclient.SASLPlain), "may not use the consumer group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := config(&world{brokers: []string{c.broker}}, c.topic)
			settings.TLS, settings.SASL, settings.Group = c.tls, c.sasl, c.group
			n := newNode(t, vfs.NewMem())
			n.start(n.options(settings))
			if c.want == "" {
				n.wantInOrder("a", 0, 0, 10)
				n.wantInOrder("a", 1, 0, 20)
				return
			}
			until(t, c.want, func() bool {
				err := n.consumer.Err()
				return err != nil && strings.Contains(err.Error(), c.want)
			})
			if n.count(c.topic) > 0 {
				t.Error("it was read all the same")
			}
		})
	}
}

// What a real broker does to topics while they are read: partitions that are
// added, records that are deleted, a topic that is made anew.
func TestARealBrokersTopics(t *testing.T) {
	s := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"grows": 1, "shrinks": 1, "anew": 1}})
	w := connect(t, s.Address)
	c := config(w, "grows", "shrinks", "anew")
	fs := vfs.NewMem()
	n := newNode(t, fs)
	n.start(n.options(c))
	for _, topic := range []string{"grows", "shrinks", "anew"} {
		w.produceEvents(topic, 0, 0, 10)
		n.wantInOrder(topic, 0, 0, 10)
	}
	if _, err := w.admin.CreatePartitions(t.Context(), 2, "grows"); err != nil {
		t.Fatal(err)
	}
	w.produceEvents("grows", 2, 0, 7)
	n.wantInOrder("grows", 2, 0, 7)
	w.recreate("anew")
	w.produceEvents("anew", 0, 100, 150)
	until(t, "the new topic to be told", func() bool {
		err := n.consumer.Err()
		return err != nil && strings.Contains(err.Error(), "made anew")
	})
	n.close()
	w.produceEvents("shrinks", 0, 10, 30)
	w.deleteBefore("shrinks", 0, 20)
	n = newNode(t, fs)
	n.start(n.options(c))
	w.produceEvents("grows", 0, 10, 20)
	n.wantInOrder("grows", 0, 0, 20)
	until(t, "the deleted records to be told", func() bool {
		err := n.consumer.Err()
		return err != nil && strings.Contains(err.Error(), "10 records were deleted before they were read") && strings.Contains(err.Error(), "made anew")
	})
	n.close()
	c.WhenLost = kafka.StartEarliest
	n = newNode(t, fs)
	n.start(n.options(c))
	until(t, "what is there to be read", func() bool { return len(n.of("anew", 0)) == 60 && len(n.of("shrinks", 0)) == 20 })
	if items := n.of("shrinks", 0); items[10] != "20" || n.of("anew", 0)[10] != "100" {
		t.Errorf("%v", items)
	}
	until(t, "all to be well", func() bool { return n.consumer.Err() == nil })
}
