package kafka

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/sink"
	"millrace/sink/encode"
)

const heatSchema = `{"type":"record","name":"Heat","fields":[{"name":"item_id","type":"string"},{"name":"events","type":"long"}]}`

// Values are written in the format of their topic, with the header of the
// registry; what does not fit the schema is left out, and the rest is published.
func TestFormats(t *testing.T) {
	g := fake(t)
	registry := srfake.New()
	defer registry.Close()
	var err error
	if g.registry, err = schemaregistry.New(schemaregistry.Config{URLs: []string{registry.URL()}}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer g.registry.Close()
	file := filepath.Join(t.TempDir(), "heat.avsc")
	if err := os.WriteFile(file, []byte(heatSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	g.config.Formats = []Format{{Topics: []string{"he*"}, Config: encode.Config{Format: encode.Avro, SchemaFile: file}}}
	s := g.sink("formats")
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := sink.Block{Number: 1}
	for topic, values := range map[string][]string{
		"heat": {`{"item_id":"a","events":3,"more":1}`, `{"item_id":7,"events":"many"}`}, "view": {`{"item_id":"a"}`},
	} {
		for _, v := range values {
			b.Records = append(b.Records, record(topic, v))
		}
	}
	if err := s.Commit(t.Context(), []sink.Block{b}, sink.Progress{Log: "L", Block: 1}); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, r := range g.read(kgo.ReadCommitted()) {
		found[strings.TrimPrefix(r.Topic, g.config.Prefix)] = string(r.Value)
	}
	var got struct {
		Item   string `avro:"item_id"`
		Events int64  `avro:"events"`
	}
	heat := found["heat"]
	if len(heat) <= schemaregistry.HeaderBytes || heat[0] != 0 {
		t.Fatalf("heat is %q, want a registry's header before it", heat)
	}
	if _, err := avro.MustParse(heatSchema).Decode([]byte(heat)[schemaregistry.HeaderBytes:], &got); err != nil || got.Item != "a" || got.Events != 3 {
		t.Errorf("heat is %+v, %v", got, err)
	}
	if len(found) != 2 || found["view"] != `{"item_id":"a"}` || s.LeftOut() != 1 {
		t.Errorf("found %q, left out %d", found, s.LeftOut())
	}
}

func TestFormatsThatCanNotBe(t *testing.T) {
	for want, f := range map[string]Format{
		"topics: want names": {},
		"format: want json":  {Topics: []string{"a"}, Config: encode.Config{Format: "xml"}},
	} {
		c := Default()
		c.Formats = []Format{f}
		if err := c.Validate(); !errors.Is(err, kafkaclient.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", f, err, want)
		}
	}
	c := Default()
	c.Formats = []Format{{Topics: []string{"a"}, Config: encode.Config{Format: encode.Avro, SchemaFile: "/nowhere"}}}
	if _, err := New(c, kafkaclient.Default(), nil, slog.New(slog.DiscardHandler)); !errors.Is(err, kafkaclient.ErrConfig) {
		t.Errorf("a schema file that is not there: %v", err)
	}
}

// A record that is too large is left out, and its block is published all the same.
func TestRecordsThatAreTooLarge(t *testing.T) {
	g := fake(t)
	g.config.MaxRecordKiB = 1
	s := g.sink("large")
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	large := record("a", `"`+strings.Repeat("x", 2000)+`"`)
	for n, b := range []sink.Block{{Number: 1, Records: append([]publishRecord{large}, record("a", "1"))}, {Number: 2, Records: []publishRecord{large}}} {
		if err := s.Commit(t.Context(), []sink.Block{b}, sink.Progress{Log: "L", Block: b.Number}); err != nil {
			t.Fatalf("commit %d: %v", n, err)
		}
	}
	if got := g.Records(); len(got) != 1 || s.LeftOut() != 2 {
		t.Errorf("%d records, %d left out, want 1 and 2", len(got), s.LeftOut())
	}
	if p, err := s.Open(t.Context()); err != nil || p.Block != 2 {
		t.Errorf("progress %+v, %v, want block 2", p, err)
	}
}
