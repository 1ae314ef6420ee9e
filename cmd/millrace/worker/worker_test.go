package worker

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/event"
	"millrace/internal/kafkaclient"
	"millrace/operator"
	"millrace/reference"
)

// A worker serves its socket until its standard input ends, and then leaves
// nothing behind.
func TestServeUntilStandardInputEnds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "w")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	in, lifeline := io.Pipe()
	out, printed := io.Pipe()
	ended := make(chan error, 1)
	b := NewBuilder(Wiring{}, slog.New(slog.DiscardHandler))
	go func() {
		ended <- serve(t.Context(), in, printed, socket, flink.Options{Build: b.Build})
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	plan, err := planReference("J1")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	c, err := flinktest.New(flinktest.Options{
		Plan: plan, Subtasks: 2, Partitions: 1, Result: func(flinktest.Output) { rows++ },
		Dial: func(func(string, string) ([]byte, bool)) (io.ReadWriteCloser, error) { return net.Dial("unix", socket) },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for user := range uint64(100) {
		e := reference.Event{User: user}
		if err := c.Send(0, operator.Meta{Time: event.Time(user)}, false, e.AppendRecord(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil || rows != 100 {
		t.Fatalf("%d rows, %v", rows, err)
	}
	lifeline.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
}

// Plans are JSON that Flink's side reads: the names are part of the protocol.
func TestPlanOfAReferenceJob(t *testing.T) {
	plan, err := planReference("J2")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"protocol":1,"job":"J2","program":"eyJyZWZlcmVuY2UiOiJKMiIsImVudmlyb25tZW50IjpudWxsfQ==","kafka":null,` +
		`"chains":[{"name":"viewed","stages":[{"name":"viewed","uid":"millrace-viewed"}],"inputs":[{"edge":0}]},` +
		`{"name":"pairs","stages":[{"name":"pairs","uid":"millrace-pairs"}],"inputs":[{"edge":1}]}],` +
		`"edges":[{"id":0,"from":"source","to":"viewed","key":{"offset":0,"length":8}},{"id":1,"from":"viewed","to":"pairs"},` +
		`{"id":2,"from":"pairs","to":"result"}],"sinks":{},"views":false}`
	if got := plan.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := planReference("J3"); err == nil || !strings.Contains(err.Error(), "want one of J1, J2, J4, J5, J6") {
		t.Errorf("J3: %v", err)
	}
}

// Kafka's own clients are told how brokers are reached in their words.
func TestKafkaProperties(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("CERTIFICATE"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := kafkaclient.Default()
	c.Brokers = []string{"a:1", "b:2"}
	c.TLS.Enabled, c.TLS.CAFile = true, ca
	c.SASL = kafkaclient.SASL{Mechanism: kafkaclient.SASLPlain, Username: "ann", Password: `a"b\c`}
	got, err := properties(&c)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bootstrap.servers": "a:1,b:2", "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
		"sasl.jaas.config":    `org.apache.kafka.common.security.plain.PlainLoginModule required username="ann" password="a\"b\\c";`,
		"ssl.truststore.type": "PEM", "ssl.truststore.certificates": "CERTIFICATE",
	} {
		if got[name] != want {
			t.Errorf("%s: got %s, want %s", name, got[name], want)
		}
	}
	if b, err := json.Marshal(got); err != nil || len(b) == 0 {
		t.Error(err)
	}
}
