package kafkaclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Words say what an error of a client means and what can be done about it. They
// name no secret.
func (c *Config) Words(err error) string {
	if err == nil {
		return ""
	}
	for _, words := range []func(error) string{c.connecting, c.securing, refusals, limits} {
		text := words(err)
		if text == "" {
			continue
		}
		for _, broker := range c.Brokers { // as Probe names it
			if strings.HasPrefix(err.Error(), broker+": ") && !strings.Contains(text, broker) {
				text = broker + ": " + text
			}
		}
		return text
	}
	return err.Error()
}

// connecting are the words of a connection that does not come about.
func (c *Config) connecting(err error) string {
	var name *net.DNSError
	var op *net.OpError
	at := "the broker"
	if errors.As(err, &op) && op.Addr != nil {
		at = op.Addr.String()
	} else if len(c.Brokers) == 1 {
		at = c.Brokers[0]
	}
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Sprintf("there is no host %s: correct kafka.brokers, or, if it is not named there, the brokers' advertised.listeners", name.Name)
	case errors.As(err, &name):
		return fmt.Sprintf("the name %s can not be looked up: %s", name.Name, name.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return at + " refuses connections: no broker runs there, or it listens on another address or port"
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return at + " can not be reached from this machine: there is no route to it"
	case errors.Is(err, syscall.ECONNRESET):
		return at + " closed the connection: it restarts, or does not speak Kafka, or wants TLS"
	case errors.As(err, &op) && op.Op == "dial" && (op.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)):
		return at + " does not answer: a firewall, or a wrong address in kafka.brokers or in the brokers' advertised.listeners"
	}
	return ""
}

// securing are the words of TLS and SASL that do not fit.
func (c *Config) securing(err error) string {
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	switch {
	case errors.As(err, &record) || isFirstRead(err) && c.TLS.Enabled && !errors.Is(err, kerr.SaslAuthenticationFailed):
		return "the broker does not speak TLS on that port: set kafka.tls.enabled to false, or use the port of its TLS listener"
	case strings.Contains(err.Error(), "tls alert record"):
		return "the broker wants TLS on that port: set kafka.tls.enabled"
	case errors.As(err, &unknown):
		return "the broker's certificate is signed by nobody that is trusted here: set kafka.tls.ca_file to the certificate of its authority"
	case errors.As(err, &host):
		return fmt.Sprintf("the broker's certificate is not for that name (%s): set kafka.tls.server_name, or use a name that it has", host.Error())
	case errors.As(err, &invalid):
		return "the broker's certificate is not valid: " + invalid.Error()
	case errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls"):
		return "the broker refuses this client's TLS: it wants a certificate that it trusts (kafka.tls.cert_file and key_file): " + err.Error()
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "the broker refuses the user or the password: see kafka.sasl.username and kafka.sasl.password"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Sprintf("the broker does not offer %s: set kafka.sasl.mechanism to one that it does (%s)", c.SASL.Mechanism, err)
	case errors.Is(err, kerr.IllegalSaslState):
		return "the broker does not take SASL on that port: leave kafka.sasl out, or use the port of its SASL listener"
	case isFirstRead(err) && c.SASL.Mechanism == "":
		return "the broker closed the connection at once: it restarts, or wants TLS (kafka.tls) or SASL (kafka.sasl), or is no Kafka broker"
	case isFirstRead(err):
		return "the broker closed the connection at once: it restarts, or wants TLS (kafka.tls), or takes no SASL on that port, or is no Kafka broker"
	case strings.Contains(err.Error(), "HTTP response") || strings.Contains(err.Error(), "invalid large response"):
		return "what answers there is no Kafka broker: check the port in kafka.brokers"
	}
	return ""
}

func isFirstRead(err error) bool {
	var first *kgo.ErrFirstReadEOF
	return errors.As(err, &first)
}

// refusals are the words of what a broker refuses.
func refusals(err error) string {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID):
		return "there is no such topic: create it, or correct its name"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "the user may not use the topic: it needs the right to read or write, and to describe it"
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return "the user may not use the consumer group: it needs the right to read kafka.group"
	case errors.Is(err, kerr.FencedInstanceID):
		return "another process is in the consumer group by the same name: give each its own kafka.instance_id"
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return "the user may not do this in the cluster: an idempotent producer needs the right IdempotentWrite"
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return "the user may not use the transactional id: it needs the rights to write and to describe it"
	case errors.Is(err, kerr.UnsupportedVersion):
		return "the broker is too old for this"
	case errors.Is(err, kerr.NotEnoughReplicas) || errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return "fewer replicas are in sync than the topic's min.insync.replicas asks for: brokers are down"
	case errors.Is(err, kerr.LeaderNotAvailable):
		return "a partition has no leader at present: brokers are down or start"
	case errors.Is(err, kerr.CoordinatorNotAvailable) || errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.CoordinatorLoadInProgress):
		return "the coordinator of the consumer group is not available at present: brokers are down or start"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return "there are fewer brokers than a topic is to have replicas (default.replication.factor, offsets.topic.replication.factor)"
	}
	return ""
}

// limits are the words of what took too long or ended.
func limits(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return "no broker answered in time"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed):
		return "the broker closed the connection: it stops or restarts"
	}
	return ""
}

// Probe asks the first broker that answers for the cluster and the topics. The
// error is of the last broker of the list, where none does, in its own terms:
// Words says it in others. Topics that are missing are no error; those that are
// there come with their number of partitions.
func Probe(ctx context.Context, c Config, topics ...string) (map[string]int, error) {
	var failed error
	for _, broker := range c.Brokers {
		one := c
		one.Brokers = []string{broker}
		found, err := probe(ctx, &one, topics)
		if err == nil {
			return found, nil
		}
		failed = fmt.Errorf("%s: %w", broker, err)
	}
	if failed == nil {
		failed = invalid("brokers", "HOST:PORT of at least one broker", "")
	}
	return nil, failed
}

func probe(ctx context.Context, c *Config, topics []string) (map[string]int, error) {
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options, kgo.RequestRetries(0), kgo.RetryTimeout(c.RequestTimeout))...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		request.Topics = append(request.Topics, t)
	}
	// The seed itself: what it advertises may not be what it is reached by.
	response, err := client.SeedBrokers()[0].Request(ctx, request)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, t := range response.(*kmsg.MetadataResponse).Topics {
		if t.Topic != nil && t.ErrorCode == 0 {
			found[*t.Topic] = len(t.Partitions)
		}
	}
	return found, nil
}
