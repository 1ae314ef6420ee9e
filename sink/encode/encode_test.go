package encode_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/sink/encode"
	"millrace/source/format"
)

const avroSchema = `{"type":"record","name":"Event","fields":[{"name":"user_id","type":"string"},{"name":"item_id","type":"string"},
	{"name":"event_type","type":{"type":"enum","name":"T","symbols":["view","like"]}},{"name":"value","type":["null","double"],"default":null},
	{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"session_id","type":"string","default":""},
	{"name":"metadata","type":["null",{"type":"map","values":["long","string"]}],"default":null}]}`

const protoSchema = `syntax = "proto3"; package shop; import "google/protobuf/struct.proto"; message Other { message Event {
	string user_id = 1; string item_id = 2; string event_type = 3; optional double value = 4; int64 timestamp = 5; string session_id = 6; google.protobuf.Struct metadata = 7; } }`

func made(t testing.TB, kind, schema, message string) (*encode.Encoder, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "schema")
	if err := os.WriteFile(path, []byte(schema), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := encode.New(encode.Config{Format: kind, SchemaFile: path, Message: message})
	if err != nil {
		t.Fatal(err)
	}
	return e, path
}

// What is written is what is read, with a registry and by a file.
func TestRoundTrip(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	registry, err := schemaregistry.New(schemaregistry.Config{URLs: []string{fake.URL()}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	for _, c := range []struct{ kind, schema, message string }{{encode.Avro, avroSchema, ""}, {encode.Protobuf, protoSchema, "shop.Other.Event"}} {
		e, path := made(t, c.kind, c.schema, c.message)
		header, err := e.Register(t.Context(), registry, "events-"+c.kind)
		if err != nil || len(header) < schemaregistry.HeaderBytes {
			t.Fatalf("%s: %x, %v", c.kind, header, err)
		}
		registered, err := format.New(format.Config{Format: c.kind}, format.Mapping{}, nil, registry)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := format.New(format.Config{Format: c.kind, SchemaFile: path, Message: c.message}, format.Mapping{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			`{"user_id":"u","item_id":"i","event_type":"like","value":4.5,"timestamp":1600000000123,"session_id":"s","metadata":{"a":1,"b":"x"}}`,
			`{"user_id":"u","item_id":"i","event_type":"view","timestamp":1600000000123}`,
		} {
			withMore := strings.Replace(text, "{", `{"not_of_the_schema":{"x":[1]},`, 1)
			for d, prefix := range map[format.Decoder][]byte{registered: header, plain: {}} {
				value, err := e.Append(append([]byte{}, prefix...), []byte(withMore))
				if err != nil {
					t.Fatalf("%s: %v", c.kind, err)
				}
				var got event.Event
				bad, err := d.Decode(context.Background(), &format.Record{Value: value}, 0, &got)
				if bad != nil || err != nil {
					t.Fatalf("%s: %v, %v", c.kind, bad, err)
				}
				if back := string(event.AppendJSON(nil, &got)); back != text {
					t.Errorf("%s\n got %s\nwant %s", c.kind, back, text)
				}
			}
		}
	}
	e, err := encode.New(encode.Config{})
	if err != nil {
		t.Fatal(err)
	}
	header, err := e.Register(t.Context(), registry, "json")
	out, failed := e.Append([]byte("x"), []byte(`{"a":1}`))
	if header != nil || err != nil || failed != nil || string(out) != `x{"a":1}` {
		t.Errorf("JSON: %x, %v, %s, %v", header, err, out, failed)
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	for kind, schema := range map[string]string{encode.Avro: avroSchema, encode.Protobuf: protoSchema} {
		message := ""
		if kind == encode.Protobuf {
			message = "shop.Other.Event"
		}
		e, _ := made(t, kind, schema, message)
		for _, text := range []string{`{"user_id":{}}`, `{`, ``, `[]`, `{"user_id":"u","item_id":"i","event_type":"view","timestamp":"x"}`} {
			if out, err := e.Append([]byte("x"), []byte(text)); !errors.Is(err, encode.ErrValue) || string(out) != "x" {
				t.Errorf("%s, %s: %q, %v", kind, text, out, err)
			}
		}
	}
}

func TestConfigs(t *testing.T) {
	for _, c := range []struct {
		config encode.Config
		want   string
	}{
		{encode.Config{Format: "xml"}, `format: want json, avro or protobuf, got "xml"`},
		{encode.Config{Format: encode.Avro}, "schema_file: want a file"},
		{encode.Config{Format: encode.Avro, SchemaFile: "a", Message: "b"}, "only with the format protobuf"},
		{encode.Config{Format: encode.Protobuf, SchemaFile: "a"}, "the full name of the message"},
		{encode.Config{SchemaFile: "a"}, "only with the formats avro and protobuf"},
		{encode.Config{Format: encode.Avro, SchemaFile: "/nowhere"}, "schema_file: "},
	} {
		if _, err := encode.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.config, err, c.want)
		}
	}
}

// FuzzAppend: whatever a value is, it is written or does not fit.
func FuzzAppend(f *testing.F) {
	avro, _ := made(f, encode.Avro, avroSchema, "")
	proto, _ := made(f, encode.Protobuf, protoSchema, "shop.Other.Event")
	f.Add([]byte(`{"user_id":"u","item_id":"i","event_type":"like","value":4.5,"timestamp":1600000000123,"metadata":{"a":1,"b":"x"}}`))
	f.Add([]byte(`{"value":1e999,"timestamp":1e30}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, e := range []*encode.Encoder{avro, proto} {
			if _, err := e.Append(nil, value); err != nil && !errors.Is(err, encode.ErrValue) {
				t.Errorf("%q: %v", value, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for kind, schema := range map[string]string{encode.Avro: avroSchema, encode.Protobuf: protoSchema} {
		b.Run(kind, func(b *testing.B) {
			message := ""
			if kind == encode.Protobuf {
				message = "shop.Other.Event"
			}
			e, _ := made(b, kind, schema, message)
			value := []byte(`{"user_id":"u","item_id":"i","event_type":"like","value":4.5,"timestamp":1600000000123,"session_id":"s"}`)
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, err = e.Append(out[:0], value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
