package format_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/source/format"
)

const recordTime = 1_650_000_000_000

// registry is a registry of the client library's fake, over real HTTP.
func registry(t testing.TB) (*srfake.Registry, *schemaregistry.Client) {
	t.Helper()
	fake := srfake.New(srfake.WithGlobalCompat(sr.CompatNone))
	t.Cleanup(fake.Close)
	client, err := schemaregistry.New(schemaregistry.Config{URLs: []string{fake.URL()}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return fake, client
}

// registered is the id of a schema in a registry.
func registered(t testing.TB, fake *srfake.Registry, subject string, s sr.Schema) int {
	t.Helper()
	client, err := sr.NewClient(sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.RegisterSchema(context.Background(), subject, s, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// header is what a serializer writes before a value.
func header(t testing.TB, id int, indexes []int) []byte {
	t.Helper()
	b, err := schemaregistry.AppendHeader(nil, id, indexes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// written is a file in a folder of the test.
func written(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func opened(t testing.TB, c format.Config, m format.Mapping, client *schemaregistry.Client) format.Decoder {
	t.Helper()
	d, err := format.New(c, m, event.DefaultTypes(), client)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// outcome is the event of a value, or what is wrong with it in full.
func outcome(t testing.TB, d format.Decoder, value []byte) string {
	t.Helper()
	var e event.Event
	bad, err := d.Decode(context.Background(), &format.Record{Topic: "t", Value: value, Time: recordTime}, 0, &e)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case bad != nil:
		return fmt.Sprintf("bad: %s: want %s, got %s", bad.Err.Field, bad.Err.Expected, bad.Err.Got)
	}
	return string(event.AppendJSON(nil, &e))
}

func checkOutcome(t *testing.T, name, got, want string) {
	t.Helper()
	if strings.HasPrefix(want, "bad: ") {
		for _, part := range strings.Split(strings.TrimPrefix(want, "bad: "), " … ") {
			if !strings.HasPrefix(got, "bad: ") || !strings.Contains(got, part) {
				t.Errorf("%s\n got %s\nwant %s", name, got, want)
			}
		}
	} else if got != want {
		t.Errorf("%s\n got %s\nwant %s", name, got, want)
	}
}

// avroFields is a record schema with these fields.
func avroFields(fields string) string {
	return `{"type":"record","name":"Watched","namespace":"shop","fields":[` + fields + `]}`
}

const (
	avroIDs   = `{"name":"userId","type":"long"},{"name":"movieId","type":"string"}`
	wantIDs   = `{"user_id":"7","item_id":"m"`
	wantEvent = wantIDs + `,"event_type":"view"`
)

func TestAvroTypes(t *testing.T) {
	at := time.UnixMilli(1_600_000_000_123).UTC()
	for _, c := range []struct {
		name, field string
		value       any
		mapping     format.Mapping
		want        string
	}{
		{"timestamp-millis", `{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}}`, at, format.Mapping{}, wantEvent + `,"timestamp":1600000000123}`},
		{"timestamp-micros", `{"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}}`, at, format.Mapping{}, wantEvent + `,"timestamp":1600000000123}`},
		{"optional time", `{"name":"ts","type":["null",{"type":"long","logicalType":"timestamp-millis"}]}`, &at, format.Mapping{}, wantEvent + `,"timestamp":1600000000123}`},
		{"null", `{"name":"ts","type":["null","long"]}`, nil, format.Mapping{RecordTime: true}, wantEvent + `,"timestamp":1650000000000}`},
		{"no time", `{"name":"ts","type":["null","long"]}`, nil, format.Mapping{}, "bad: timestamp: … got nothing"},
		{"seconds", `{"name":"ts","type":"long"}`, int64(1_600_000_000), format.Mapping{}, wantEvent + `,"timestamp":1600000000000}`},
		{"microseconds", `{"name":"ts","type":"long"}`, int64(1_600_000_000_123_456), format.Mapping{TimeUnit: "us"}, wantEvent + `,"timestamp":1600000000123}`},
		{"milliseconds of 1970", `{"name":"ts","type":"long"}`, int64(5_000_000), format.Mapping{TimeUnit: "ms"}, wantEvent + `,"timestamp":"1970-01-01T01:23:20.000Z"}`},
		{"time as text", `{"name":"ts","type":"string"}`, "2020-09-13T12:26:40Z", format.Mapping{}, wantEvent + `,"timestamp":1600000000000}`},
		{"a wrong time", `{"name":"ts","type":"string"}`, "soon", format.Mapping{}, "bad: timestamp: … got soon"},
		{"decimal", `{"name":"rating","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}`, big.NewRat(45, 10),
			format.Mapping{RecordTime: true}, wantEvent + `,"value":4.5,"timestamp":1650000000000}`},
		{"double", `{"name":"rating","type":["null","double"]}`, 4.5, format.Mapping{RecordTime: true, EventType: "rating"},
			wantIDs + `,"event_type":"rating","value":4.5,"timestamp":1650000000000}`},
		{"float", `{"name":"rating","type":"float"}`, float32(4.1), format.Mapping{RecordTime: true}, wantEvent + `,"value":4.1,"timestamp":1650000000000}`},
		{"no number", `{"name":"rating","type":"boolean"}`, true, format.Mapping{RecordTime: true}, "bad: value: want a finite number"},
		{"enum", `{"name":"action","type":{"type":"enum","name":"A","symbols":["LOOK","ADDTOCART"]}}`, "ADDTOCART",
			format.Mapping{RecordTime: true, TypeNames: map[string]string{"ADDTOCART": "cart"}}, wantIDs + `,"event_type":"cart","timestamp":1650000000000}`},
		{"an unknown type", `{"name":"action","type":"string"}`, "stare", format.Mapping{RecordTime: true}, "bad: event_type: want one of cart … got stare"},
		{"uuid", `{"name":"session_id","type":{"type":"string","logicalType":"uuid"}}`, "6f4e2d8a-0000-4000-8000-1234567890ab", format.Mapping{RecordTime: true},
			wantEvent + `,"timestamp":1650000000000,"session_id":"6f4e2d8a-0000-4000-8000-1234567890ab"}`},
		{"metadata", `{"name":"properties","type":{"type":"map","values":["string","long","null"]}}`, map[string]any{"b": "x", "a": int64(1), "c": nil},
			format.Mapping{RecordTime: true}, wantEvent + `,"timestamp":1650000000000,"metadata":{"a":1,"b":"x","c":null}}`},
		{"metadata as text", `{"name":"metadata","type":"string"}`, `{ "a": 1 }`, format.Mapping{RecordTime: true},
			wantEvent + `,"timestamp":1650000000000,"metadata":{"a":1}}`},
		{"metadata that is none", `{"name":"metadata","type":"string"}`, `[1]`, format.Mapping{RecordTime: true}, "bad: metadata: … got [1]"},
		{"what is not wanted", `{"name":"cart","type":{"type":"array","items":{"type":"map","values":"bytes"}}}`, []any{map[string]any{"x": []byte{1}}},
			format.Mapping{RecordTime: true}, wantEvent + `,"timestamp":1650000000000}`},
	} {
		schema := avroFields(avroIDs + "," + c.field)
		parsed, err := avro.Parse(schema)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		root := parsed.Root()
		value, err := parsed.Encode(map[string]any{"userId": int64(7), "movieId": "m", root.Fields[2].Name: c.value})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		d := opened(t, format.Config{Format: format.Avro, SchemaFile: written(t, "s.avsc", schema)}, c.mapping, nil)
		checkOutcome(t, c.name, outcome(t, d, value), c.want)
		checkOutcome(t, c.name+", one byte more", outcome(t, d, append(value, 0)), "bad: want a value as its schema has it … 1 bytes more")
		checkOutcome(t, c.name+", cut off", outcome(t, d, value[:1]), "bad: want a value as its schema has it … Watched")
	}
}

// Writers with other schemas are read one after the other, each with its own;
// with a schema file that one decides on names and defaults.
func TestAvroEvolution(t *testing.T) {
	fake, client := registry(t)
	encode := func(schema string, v map[string]any) []byte {
		t.Helper()
		id := registered(t, fake, "movies-value", sr.Schema{Schema: schema})
		value, err := avro.MustParse(schema).Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		return append(header(t, id, nil), value...)
	}
	v1 := encode(avroFields(avroIDs+`,{"name":"ts","type":"int"}`), map[string]any{"userId": 7, "movieId": "m", "ts": 1_600_000_000})
	v2 := encode(avroFields(`{"name":"device","type":"string","default":"?"},{"name":"film","type":"string"},{"name":"userId","type":"int"},{"name":"ts","type":"long"},{"name":"stars","type":["null","int"]}`),
		map[string]any{"device": "tv", "film": "m", "userId": 7, "ts": 1_600_000_000_000, "stars": 4})

	own := opened(t, format.Config{Format: format.Avro}, format.Mapping{Fields: map[string]string{"film": "item_id", "stars": "value"}}, client)
	checkOutcome(t, "v1", outcome(t, own, v1), wantEvent+`,"timestamp":1600000000000}`)
	checkOutcome(t, "v2", outcome(t, own, v2), wantEvent+`,"value":4,"timestamp":1600000000000}`)

	reader := avroFields(`{"name":"item_id","type":"string","aliases":["movieId","film"]},{"name":"user_id","type":"long","aliases":["userId"]},
		{"name":"timestamp","type":"long","aliases":["ts"]},{"name":"value","type":["null","double"],"default":null,"aliases":["stars"]},{"name":"event_type","type":"string","default":"like"}`)
	file := opened(t, format.Config{Format: format.Avro, SchemaFile: written(t, "r.avsc", reader)}, format.Mapping{}, client)
	checkOutcome(t, "v1 by a file", outcome(t, file, v1), wantIDs+`,"event_type":"like","timestamp":1600000000000}`)
	checkOutcome(t, "v2 by a file", outcome(t, file, v2), wantIDs+`,"event_type":"like","value":4,"timestamp":1600000000000}`)

	other := encode(`{"type":"record","name":"Other","fields":[{"name":"a","type":"int"}]}`, map[string]any{"a": 1})
	checkOutcome(t, "another record", outcome(t, own, other), "bad: want a schema that events can be made of … Other: want a field that is the user_id, got a;")
	checkOutcome(t, "no header", outcome(t, own, []byte(`{"user_id":1}`)), "bad: the id of its schema … 0x7b")
	checkOutcome(t, "short", outcome(t, own, []byte{0, 1}), "bad: the id of its schema … 2 bytes")
	checkOutcome(t, "empty", outcome(t, own, nil), "bad: the id of its schema")
	proto := registered(t, fake, "p-value", sr.Schema{Schema: `syntax = "proto3"; message A { string user_id = 1; }`, Type: sr.TypeProtobuf})
	checkOutcome(t, "a schema of another kind", outcome(t, own, header(t, proto, nil)), "bad: PROTOBUF, and the topic's format is avro")
}

// A schema may refer to others, which the registry has as well.
func TestAvroReferences(t *testing.T) {
	fake, client := registry(t)
	registered(t, fake, "id", sr.Schema{Schema: `{"type":"record","name":"Id","namespace":"shop","fields":[{"name":"n","type":"long"}]}`})
	schema := avroFields(avroIDs + `,{"name":"metadata","type":"shop.Id"}`)
	id := registered(t, fake, "watched-value", sr.Schema{Schema: schema, References: []sr.SchemaReference{{Name: "shop.Id", Subject: "id", Version: 1}}})
	d := opened(t, format.Config{Format: format.Avro}, format.Mapping{RecordTime: true}, client)
	value := append(header(t, id, nil), 14, 2, 'm', 10)
	checkOutcome(t, "reference", outcome(t, d, value), wantEvent+`,"timestamp":1650000000000,"metadata":{"n":5}}`)
}

const protoSchema = `syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto"; import "confluent/type/decimal.proto";
message Other { message Inner { string user_id = 1; string item_id = 2; } }
enum EventType { EVENT_TYPE_UNSPECIFIED = 0; EVENT_TYPE_LIKE = 1; EVENT_TYPE_BOUGHT = 2; }
message Watched {
  int64 userId = 1; string movie_id = 2; google.protobuf.Timestamp ts = 3; EventType event_type = 4;
  optional float rating = 5; google.protobuf.StringValue session_id = 6; repeated string tags = 7; map<string, string> metadata = 8;
}
message Second { string user_id = 1; uint64 item_id = 40; sint64 timestamp = 3; confluent.type.Decimal value = 4; google.protobuf.Struct properties = 5; Kind action = 6; enum Kind { VIEW = 0; PURCHASE = 1; } }
`

// protoMessages are the messages of protoSchema.
func protoMessages(t testing.TB) protoreflect.MessageDescriptors {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{
		"s.proto":                      protoSchema,
		"confluent/type/decimal.proto": `syntax = "proto3"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }`,
	})})}
	files, err := c.Compile(t.Context(), "s.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0].Messages()
}

func protoValue(t testing.TB, message protoreflect.MessageDescriptor, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(message)
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProtobuf(t *testing.T) {
	fake, client := registry(t)
	id := registered(t, fake, "movies-value", sr.Schema{Schema: protoSchema, Type: sr.TypeProtobuf})
	mapping := format.Mapping{RecordTime: true, TypeNames: map[string]string{"BOUGHT": "purchase"}}
	d := opened(t, format.Config{Format: format.Protobuf}, mapping, client)
	plain := opened(t, format.Config{Format: format.Protobuf, SchemaFile: written(t, "s.proto", protoSchema), Message: "shop.Watched"}, mapping, nil)
	messages := protoMessages(t)
	const second = `"userId":"7","movieId":"m"`
	for _, c := range []struct {
		name    string
		indexes []int
		text    string
		want    string
	}{
		{"watched", []int{1}, `{"userId":"7","movieId":"m","ts":"2020-09-13T12:26:40.123Z"}`, wantEvent + `,"timestamp":1600000000123}`},
		{"all of it", []int{1}, `{` + second + `,"eventType":"EVENT_TYPE_LIKE","rating":4.1,"sessionId":"s","tags":["a"],"metadata":{"b":"2","a":"1"}}`,
			wantIDs + `,"event_type":"like","value":4.1,"timestamp":1650000000000,"session_id":"s","metadata":{"a":"1","b":"2"}}`},
		{"a type by another name", []int{1}, `{` + second + `,"eventType":"EVENT_TYPE_BOUGHT"}`, wantIDs + `,"event_type":"purchase","timestamp":1650000000000}`},
		{"a rating of 0", []int{1}, `{` + second + `,"rating":0}`, wantEvent + `,"value":0,"timestamp":1650000000000}`},
		{"no user", []int{1}, `{"movieId":"m"}`, "bad: user_id: … got nothing"},
		{"a number that the type does not have", []int{1}, `{` + second + `,"eventType":77}`, "bad: event_type: … number 77"},
		{"inside another", []int{0, 0}, `{"userId":"u","itemId":"i"}`, `{"user_id":"u","item_id":"i","event_type":"view","timestamp":1650000000000}`},
		{"second", []int{2}, `{"userId":"u","itemId":"18446744073709551615","timestamp":"1600000000","value":{"value":"AcI=","scale":2},"properties":{"z":[1,null],"a":{"b":true}},"action":"PURCHASE"}`,
			`{"user_id":"u","item_id":"18446744073709551615","event_type":"purchase","value":4.5,"timestamp":1600000000000,"metadata":{"a":{"b":true},"z":[1,null]}}`},
		{"a zero that means something", []int{2}, `{"userId":"u","itemId":"1","timestamp":"1600000000"}`, `{"user_id":"u","item_id":"1","event_type":"view","timestamp":1600000000000}`},
	} {
		list := messages
		var message protoreflect.MessageDescriptor
		for _, at := range c.indexes {
			message = list.Get(at)
			list = message.Messages()
		}
		if c.name == "second" || c.name == "a zero that means something" {
			message = messages.ByName("Second")
		}
		value := protoValue(t, message, c.text)
		checkOutcome(t, c.name, outcome(t, d, append(header(t, id, c.indexes), value...)), c.want)
		if len(c.indexes) == 1 && c.indexes[0] == 1 {
			checkOutcome(t, c.name+" by a file", outcome(t, plain, value), c.want)
		}
	}
	checkOutcome(t, "of another message type", outcome(t, d, header(t, id, []int{0})), "bad: shop.Other: want a field that is the user_id, got")
	checkOutcome(t, "of none", outcome(t, d, header(t, id, []int{9})), "bad: has no message type [9]")
	checkOutcome(t, "cut off", outcome(t, d, append(header(t, id, []int{1}), 0x12, 5, 'x')), "bad: shop.Watched: field 2 at byte")
	checkOutcome(t, "a wrong wire type", outcome(t, d, append(header(t, id, []int{1}), 0x0d, 0, 0, 0, 0)), "bad: shop.Watched.userId: wire type 5")
	checkOutcome(t, "no indexes", outcome(t, d, header(t, id, nil)), "bad: the id of its schema")
}

// A message whose schema is not known is bad and the registry is not asked for
// each; one whose registry does not answer waits.
func TestRegistryFailures(t *testing.T) {
	fake, client := registry(t)
	asked, down := atomic.Int64{}, atomic.Bool{}
	fake.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		asked.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return down.Load()
	})
	schema := avroFields(avroIDs)
	id := registered(t, fake, "movies-value", sr.Schema{Schema: schema})
	d := opened(t, format.Config{Format: format.Avro}, format.Mapping{RecordTime: true}, client)
	asked.Store(0)
	for range 50 {
		checkOutcome(t, "unknown", outcome(t, d, append(header(t, 999, nil), 14, 2, 'm')), "bad: a message whose schema the registry knows … id 999")
	}
	if n := asked.Load(); n > 5 {
		t.Errorf("the registry was asked %d times for a schema that it does not have", n)
	}

	down.Store(true)
	value := append(header(t, id, nil), 14, 2, 'm')
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	var e event.Event
	bad, err := d.Decode(ctx, &format.Record{Value: value, Time: recordTime}, 0, &e)
	if bad != nil || err == nil || client.Err() == nil || !strings.Contains(client.Err().Error(), "503") {
		t.Errorf("while the registry is away: %v, %v; it says %v", bad, err, client.Err())
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		down.Store(false)
	}()
	checkOutcome(t, "when it is back", outcome(t, d, value), wantEvent+`,"timestamp":1650000000000}`)
	if client.Err() != nil {
		t.Errorf("it answers, and is said to fail: %v", client.Err())
	}
	down.Store(true)
	asked.Store(0)
	checkOutcome(t, "while it is away again", outcome(t, d, value), wantEvent+`,"timestamp":1650000000000}`)
	if asked.Load() != 0 {
		t.Error("a schema that is known was asked for")
	}
}

func TestJSONWithHeader(t *testing.T) {
	d := opened(t, format.Config{}, format.Mapping{}, nil)
	value := append(header(t, 3, nil), `{"user_id":7,"item_id":"m","timestamp":1600000000}`...)
	checkOutcome(t, "header", outcome(t, d, value), wantEvent+`,"timestamp":1600000000000}`)
	units := opened(t, format.Config{}, format.Mapping{TimeUnit: "us", TypeNames: map[string]string{"look": "view", "view": "click"}}, nil)
	for value, want := range map[string]string{
		`{"user_id":7,"item_id":"m","timestamp":1600000000123456,"event_type":"look"}`: wantEvent + `,"timestamp":1600000000123}`,
		`{"user_id":7,"item_id":"m","timestamp":"1600000000123456"}`:                   wantEvent + `,"timestamp":1600000000123}`,
		`{"user_id":7,"item_id":"m","timestamp":"2020-09-13T12:26:40Z"}`:               wantEvent + `,"timestamp":1600000000000}`,
		`{"user_id":7,"item_id":"m","timestamp":1e30}`:                                 "bad: timestamp: … got 1e30",
		`{"user_id":7,"item_id":"m","timestamp":5,"event_type":"view"}`:                "bad: timestamp: … got 5",
	} {
		checkOutcome(t, value, outcome(t, units, []byte(value)), want)
	}
}

func TestConfigs(t *testing.T) {
	for _, c := range []struct {
		config   format.Config
		registry bool
		want     string
	}{
		{format.Config{Format: "xml"}, true, `format: want json, avro, protobuf or counter, got "xml"`},
		{format.Config{Format: format.Avro}, false, "schema_file: want a file with the Avro schema, or a schema registry"},
		{format.Config{Format: format.Protobuf, SchemaFile: "a"}, false, "the full name of the message"},
		{format.Config{Format: format.Protobuf, SchemaFile: "a", Message: "b"}, true, "want neither with a schema registry"},
		{format.Config{SchemaFile: "a"}, true, "only with the formats avro and protobuf"},
		{format.Config{Format: format.Avro, Message: "a"}, true, "only with the format protobuf"},
	} {
		if err := c.config.Validate(c.registry); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.config, err, c.want)
		}
	}
	for _, c := range []struct{ kind, schema, message, want string }{
		{format.Avro, `{"type":"recrd"}`, "", "schema_file: "},
		{format.Avro, `"string"`, "", "want a record, got string"},
		{format.Avro, avroFields(`{"name":"userId","type":"long"}`), "", "want a field that is the item_id, got userId"},
		{format.Avro, avroFields(avroIDs + `,{"name":"score","type":"int"},{"name":"rating","type":"int"}`), "", "want one field that is the value, got score and rating"},
		{format.Protobuf, `syntax = "proto3"; message A {`, "A", "schema_file: "},
		{format.Protobuf, `syntax = "proto3"; message A {}`, "B", `message: want one of A, with its package, got "B"`},
		{format.Protobuf, `syntax = "proto3"; message A { repeated string user_id = 1; }`, "A", "A.user_id: want a string or a whole number, got a list"},
		{format.Protobuf, `syntax = "proto3"; message A { string user_id = 1; A item_id = 2; }`, "A", "got a message A"},
	} {
		_, err := format.New(format.Config{Format: c.kind, SchemaFile: written(t, "s", c.schema), Message: c.message}, format.Mapping{}, nil, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.schema, err, c.want)
		}
	}
}
