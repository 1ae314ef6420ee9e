package services

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// TestKafka: what a broker has acknowledged is there after a kill and a stop, on
// the same address.
func TestKafka(t *testing.T) {
	s := Kafka(t, KafkaOptions{Topics: map[string]int32{"clicks": 2}})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	c := s.Client(kgo.DefaultProduceTopic("clicks"), kgo.UnknownTopicRetries(0))
	produce := func(value string) error {
		return c.ProduceSync(ctx, &kgo.Record{Value: []byte(value)}).FirstErr()
	}
	if err := produce("before"); err != nil {
		t.Fatal(err)
	}
	for n, end := range []func(){s.Kill, s.Stop} {
		end()
		s.Start()
		if err := produce("after"); err != nil {
			t.Fatal(err)
		}
		ends, err := s.Admin().ListEndOffsets(ctx, "clicks")
		if err != nil {
			t.Fatal(err)
		}
		var total int64
		ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
		if want := int64(n + 2); total != want {
			t.Errorf("%d records, want %d", total, want)
		}
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "unknown"}).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("a record for an unknown topic: %v", err)
	}
}

// TestKafkaSecure: each listener takes the clients that it should, and no others.
func TestKafkaSecure(t *testing.T) {
	s := Kafka(t, KafkaOptions{
		TLS: true, ClientCertificates: true, SASL: true, Authorize: true,
		Features: map[string]int{"transaction.version": 0}, Topics: map[string]int32{"clicks": 1},
	})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	logins := map[string]sasl.Mechanism{
		"plain":    plain.Auth{User: User, Pass: Password}.AsMechanism(),
		"scram256": scram.Auth{User: User, Pass: Password}.AsSha256Mechanism(),
		"scram512": scram.Auth{User: User, Pass: Password}.AsSha512Mechanism(),
	}
	try := func(address string, options ...kgo.Opt) error {
		options = append(options, kgo.SeedBrokers(address), kgo.RequestRetries(0))
		c, err := kgo.NewClient(options...)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Ping(ctx)
	}
	for name, login := range logins {
		if err := try(s.SASLAddress, kgo.SASL(login)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	secure := s.ClientTLS(t)
	if err := try(s.SASLTLSAddress, kgo.DialTLSConfig(secure), kgo.SASL(logins["scram512"])); err != nil {
		t.Errorf("login with TLS: %v", err)
	}
	if err := try(s.TLSAddress, kgo.DialTLSConfig(secure)); err != nil {
		t.Errorf("TLS with a certificate: %v", err)
	}
	if err := try(s.TLSAddress, kgo.DialTLSConfig(&tls.Config{RootCAs: secure.RootCAs})); err == nil {
		t.Error("a client without a certificate got through")
	}
	other := NewCertificates(t)
	if err := try(s.TLSAddress, kgo.DialTLSConfig(other.ClientTLS(t))); err == nil {
		t.Error("a client that trusts another authority got through")
	}
	if err := try(s.SASLAddress, kgo.SASL(plain.Auth{User: User, Pass: "wrong"}.AsMechanism())); err == nil {
		t.Error("a wrong password got through")
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(s.SASLAddress), kgo.SASL(logins["plain"]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "clicks"}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("a user without rights produced: %v", err)
	}
	features, err := s.Admin().ApiVersions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	features.Each(func(v kadm.BrokerApiVersions) {
		for _, f := range v.Raw().FinalizedFeatures {
			if f.Name == "transaction.version" && f.MaxVersionLevel != 0 {
				t.Errorf("transaction.version is %d, want 0", f.MaxVersionLevel)
			}
		}
	})
}
