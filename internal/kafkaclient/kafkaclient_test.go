package kafkaclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Brokers = []string{"a:1", "b"} }, `kafka.brokers: want HOST:PORT, got "b"`},
		{func(c *Config) { c.Brokers = []string{"a:99999"} }, `got "a:99999"`},
		{func(c *Config) { c.DialTimeout = 0 }, "kafka.dial_timeout"},
		{func(c *Config) { c.RequestTimeout = time.Hour }, "kafka.request_timeout"},
		{func(c *Config) { c.TLS.CAFile = "ca" }, "kafka.tls.enabled: want true"},
		{func(c *Config) { c.TLS = TLS{Enabled: true, KeyFile: "k"} }, "kafka.tls.cert_file"},
		{func(c *Config) { c.SASL.Username = "u" }, "kafka.sasl.mechanism"},
		{func(c *Config) { c.SASL = SASL{Mechanism: "GSSAPI", Username: "u", Password: "p"} }, `got "GSSAPI"`},
		{func(c *Config) { c.SASL = SASL{Mechanism: SASLPlain, Username: "u"} }, "kafka.sasl.password"},
	} {
		settings := Default()
		settings.Brokers = []string{"127.0.0.1:9092"}
		if err := settings.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(&settings)
		if err := settings.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	c := Config{SASL: SASL{Mechanism: SASLPlain, Username: "ann", Password: "hush"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, c); strings.Contains(text, "hush") || !strings.Contains(text, "ann") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

// certificate is a self-signed one for a name, and the file that it is in.
func certificate(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// broker is a cluster in memory.
func broker(t *testing.T, options ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append(options, kfake.NumBrokers(1), kfake.SeedTopics(3, "there"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answering is a server that answers whatever comes and hangs up.
func answering(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = c.Write([]byte(text))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// Every way to be wrong has words of its own, and what is right works.
func TestWords(t *testing.T) {
	cert, ca := certificate(t, "kafka.test")
	plaintext := broker(t)
	encrypted := broker(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	secured := broker(t, kfake.EnableSASL(), kfake.Superuser(SASLScramSHA256, "ann", "hush"), kfake.Superuser(SASLPlain, "ann", "hush"))
	web := answering(t, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	// What is no request is no reason for Kafka to answer; kfake waits for more.
	hangingUp := answering(t, "")
	right := TLS{Enabled: true, CAFile: ca, ServerName: "kafka.test"}
	for _, c := range []struct {
		name, broker string
		tls          TLS
		sasl         SASL
		want         string // empty: it works
	}{
		{"plain", plaintext, TLS{}, SASL{}, ""},
		{"tls", encrypted, right, SASL{}, ""},
		{"sasl", secured, TLS{}, SASL{SASLScramSHA256, "ann", "hush"}, ""},
		{"nobody there", closed(t), TLS{}, SASL{}, "refuses connections"},
		{"no such host", "no-such-host.invalid:9092", TLS{}, SASL{}, "no-such-host.invalid"},
		{"no kafka", web, TLS{}, SASL{}, "no Kafka broker"},
		{"no tls there", hangingUp, right, SASL{}, "does not speak TLS"},
		{"tls wanted", encrypted, TLS{}, SASL{}, "wants TLS"},
		{"unknown authority", encrypted, TLS{Enabled: true, ServerName: "kafka.test"}, SASL{}, "kafka.tls.ca_file"},
		{"another name", encrypted, TLS{Enabled: true, CAFile: ca, ServerName: "other.test"}, SASL{}, "kafka.tls.server_name"},
		// kfake hangs up; Kafka says why.
		{"wrong password", secured, TLS{}, SASL{SASLPlain, "ann", "loud"}, "closed the connection"},
		{"sasl wanted", secured, TLS{}, SASL{}, "SASL (kafka.sasl)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := Default()
			settings.Brokers, settings.TLS, settings.SASL = []string{c.broker}, c.tls, c.sasl
			settings.RequestTimeout = 5 * time.Second
			if err := settings.Validate(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			found, err := Probe(ctx, settings, "there", "not-there")
			if c.want == "" {
				if err != nil || found["there"] != 3 || len(found) != 1 {
					t.Errorf("%v, %v", found, err)
				}
				return
			}
			if words := settings.Words(err); err == nil || !strings.Contains(words, c.want) || strings.Contains(words, "hush") {
				t.Errorf("%s, want %s\nof %v", words, c.want, err)
			}
		})
	}
}
