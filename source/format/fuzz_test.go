package format_test

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/source/format"
)

// hostileAvro is a schema with all that a value could abuse: recursion, lists,
// lengths, decimals, unions.
const hostileAvro = `{"type":"record","name":"R","fields":[
	{"name":"user_id","type":["null","string","long","bytes",{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}]},
	{"name":"item_id","type":{"type":"bytes","logicalType":"decimal","precision":1000,"scale":2}},
	{"name":"ts","type":["null",{"type":"long","logicalType":"timestamp-micros"},{"type":"int","logicalType":"date"},"string","double"]},
	{"name":"rating","type":["null","float","double","string"]},
	{"name":"tree","type":["null",{"type":"record","name":"T","fields":[{"name":"next","type":["null","T"]},{"name":"many","type":{"type":"array","items":"null"}}]}]},
	{"name":"metadata","type":["null",{"type":"map","values":["null","T","bytes",{"type":"array","items":["null","double","T"]},{"type":"long","logicalType":"time-micros"}]}]}]}`

// checkDecoded demands that a value makes a valid event or is bad.
func checkDecoded(t *testing.T, d format.Decoder, value []byte) {
	t.Helper()
	var e event.Event
	bad, err := d.Decode(context.Background(), &format.Record{Value: value, Time: recordTime}, now, &e)
	switch {
	case err != nil:
		t.Errorf("%x: %v", value, err)
	case bad != nil && (bad.Err == nil || bad.Err.Expected == "" || bad.Err.Got == ""):
		t.Errorf("%x: %+v says too little", value, bad.Err)
	case bad != nil && len(bad.Err.Got) > 500:
		t.Errorf("%x: got is %d bytes long", value, len(bad.Err.Got))
	case bad == nil && event.Validate(&e, event.Options{Now: now}) != nil:
		t.Errorf("%x: %+v is not valid", value, e)
	}
}

// FuzzAvro: whatever a value is, it makes a valid event or is bad.
func FuzzAvro(f *testing.F) {
	d := opened(f, format.Config{Format: format.Avro, SchemaFile: written(f, "s.avsc", hostileAvro)}, format.Mapping{RecordTime: true}, nil)
	schema := avro.MustParse(hostileAvro)
	good, err := schema.Encode(map[string]any{"user_id": "u", "item_id": []byte{1, 2}, "ts": int64(1_600_000_000_000_000), "rating": 4.5,
		"tree": map[string]any{"next": nil, "many": []any{}}, "metadata": map[string]any{"a": []any{nil, 1.5}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{2, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})                     // a string of nearly 2^63 bytes
	f.Add([]byte{2, 2, 'u', 2, 1, 0, 0, 2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}) // as many nulls
	f.Fuzz(func(t *testing.T, value []byte) { checkDecoded(t, d, value) })
}

// FuzzProtobuf: the same of Protobuf, with a timestamp, wrappers, decimals and
// values of any depth.
func FuzzProtobuf(f *testing.F) {
	file := written(f, "s.proto", protoSchema)
	decoders := []format.Decoder{
		opened(f, format.Config{Format: format.Protobuf, SchemaFile: file, Message: "shop.Watched"}, format.Mapping{RecordTime: true}, nil),
		opened(f, format.Config{Format: format.Protobuf, SchemaFile: file, Message: "shop.Second"}, format.Mapping{RecordTime: true}, nil),
	}
	messages := protoMessages(f)
	f.Add(protoValue(f, messages.ByName("Watched"), `{"userId":"7","movieId":"m","ts":"2020-09-13T12:26:40Z","rating":0,"sessionId":"s","metadata":{"a":"b"}}`))
	f.Add(protoValue(f, messages.ByName("Second"), `{"userId":"u","itemId":"1","value":{"value":"AcI=","scale":2},"properties":{"z":[1,[[[]]]]}}`))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, d := range decoders {
			checkDecoded(t, d, value)
		}
	})
}

// FuzzHeader: the same of messages with a registry's header.
func FuzzHeader(f *testing.F) {
	fake, client := registry(f)
	ids := []int{
		registered(f, fake, "a", sr.Schema{Schema: hostileAvro}),
		registered(f, fake, "b", sr.Schema{Schema: protoSchema, Type: sr.TypeProtobuf}),
	}
	decoders := []format.Decoder{
		opened(f, format.Config{Format: format.Avro}, format.Mapping{RecordTime: true}, client),
		opened(f, format.Config{Format: format.Protobuf}, format.Mapping{RecordTime: true}, client),
		opened(f, format.Config{}, format.Mapping{RecordTime: true}, nil),
	}
	f.Add([]byte{0, 0, 0, 0, 1, 2, 2, 'u', 2, 1, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 2, 2, 2, 8, 14, 18, 1, 'm'})
	f.Add([]byte{0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, value []byte) {
		if id, _, err := schemaregistry.ReadHeader(value); err == nil && id != ids[0] && id != ids[1] {
			return // asking for each takes its time
		}
		for _, d := range decoders {
			checkDecoded(t, d, value)
		}
	})
}

// FuzzSchema: whatever a registry has, values of it are bad or events.
func FuzzSchema(f *testing.F) {
	f.Add(hostileAvro, "avro", []byte{2, 2, 'u', 2, 1, 0, 0, 0, 0})
	f.Add(protoSchema, "protobuf", []byte{8, 14, 18, 1, 'm'})
	f.Fuzz(func(t *testing.T, schema, kind string, value []byte) {
		if len(schema) > 4096 || kind != format.Avro && kind != format.Protobuf {
			return
		}
		d, err := format.New(format.Config{Format: kind, SchemaFile: written(t, "s", schema), Message: messageOf(kind)}, format.Mapping{RecordTime: true}, nil, nil)
		if err == nil {
			checkDecoded(t, d, value)
		}
	})
}

func messageOf(kind string) string {
	if kind == format.Protobuf {
		return "shop.Watched"
	}
	return ""
}

// BenchmarkDecode is the same event in each of the formats.
func BenchmarkDecode(b *testing.B) {
	fake, client := registry(b)
	schema := avroFields(`{"name":"user_id","type":"string"},{"name":"item_id","type":"string"},{"name":"event_type","type":"string"},
		{"name":"value","type":["null","double"]},{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"session_id","type":["null","string"]}`)
	avroValue, err := avro.MustParse(schema).Encode(map[string]any{"user_id": "user-123456", "item_id": "item-7890", "event_type": "view",
		"value": 4.5, "timestamp": int64(1_600_000_000_123), "session_id": "session-42"})
	if err != nil {
		b.Fatal(err)
	}
	proto := `syntax = "proto3"; message E { string user_id = 1; string item_id = 2; string event_type = 3; optional double value = 4; int64 timestamp = 5; string session_id = 6; }`
	protoText := []byte("\x0a\x0buser-123456\x12\x09item-7890\x1a\x04view\x21\x00\x00\x00\x00\x00\x00\x12\x40\x28")
	protoText = append(binary.AppendUvarint(protoText, 1_600_000_000_123), "\x32\x0asession-42"...)
	for _, c := range []struct {
		name   string
		config format.Config
		value  []byte
	}{
		{"json", format.Config{}, []byte(`{"user_id":"user-123456","item_id":"item-7890","event_type":"view","value":4.5,"timestamp":1600000000123,"session_id":"session-42"}`)},
		{"avro", format.Config{Format: format.Avro}, append(header(b, registered(b, fake, "a", sr.Schema{Schema: schema}), nil), avroValue...)},
		{"protobuf", format.Config{Format: format.Protobuf}, append(header(b, registered(b, fake, "p", sr.Schema{Schema: proto, Type: sr.TypeProtobuf}), []int{0}), protoText...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := opened(b, c.config, format.Mapping{}, client)
			if got := outcome(b, d, c.value); got != `{"user_id":"user-123456","item_id":"item-7890","event_type":"view","value":4.5,"timestamp":1600000000123,"session_id":"session-42"}` {
				b.Fatal(got)
			}
			b.SetBytes(int64(len(c.value)))
			b.ReportAllocs()
			r := &format.Record{Value: c.value}
			var e event.Event
			for b.Loop() {
				if bad, err := d.Decode(context.Background(), r, 0, &e); bad != nil || err != nil {
					b.Fatal(bad, err)
				}
			}
		})
	}
}
