package kafka

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/sink/encode"
)

// What another program is to send has its topic made, and its value written in
// the topic's format; what does not fit is left out.
func TestPreparer(t *testing.T) {
	g := fake(t)
	file := filepath.Join(t.TempDir(), "heat.avsc")
	if err := os.WriteFile(file, []byte(heatSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	g.config.Formats = []Format{{Topics: []string{"he*"}, Config: encode.Config{Format: encode.Avro, SchemaFile: file}}}
	p, err := NewPreparer(g.config, g.brokers, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, test := range []struct{ topic, value, want string }{
		{"view", `{"item_id":"a"}`, `{"item_id":"a"}`},
		{"heat", `{"item_id":"a","events":3}`, "\x02a\x06"}, // its id after its length, then 3, both in zigzag
		{"heat", `{"item_id":7}`, ""},
		{"view", `"` + strings.Repeat("x", g.config.MaxRecordKiB<<10) + `"`, ""},
	} {
		r := record(test.topic, test.value)
		topic, value, err := p.Prepare(t.Context(), &r)
		if err != nil {
			t.Fatal(err)
		}
		if test.want == "" && topic != "" || test.want != "" && (topic != g.config.Prefix+test.topic || string(value) != test.want) {
			t.Errorf("%s %.30s: %s %q, want %q", test.topic, test.value, topic, value, test.want)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(g.brokers.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	found, err := kadm.NewClient(client).ListTopics(t.Context(), g.config.Prefix+"view", g.config.Prefix+"heat")
	if err != nil || found.Error() != nil {
		t.Errorf("topics were not made: %v %v", err, found.Error())
	}
}

// A broker that is away is waited for as long as the caller does.
func TestPreparerWaits(t *testing.T) {
	g := newTarget(t, []string{"127.0.0.1:1"})
	p, err := NewPreparer(g.config, g.brokers, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const patience = 300 * time.Millisecond
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	began := time.Now()
	r := record("view", "1")
	if _, _, err := p.Prepare(ctx, &r); err == nil || time.Since(began) < patience/2 {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
