package format

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/reflect/protoreflect"

	"millrace/event"
	"millrace/internal/protoschema"
	"millrace/internal/schemaregistry"
	"millrace/source"
)

// protobufDecoder reads values that are Protobuf messages.
type protobufDecoder struct {
	rules    *rules
	strict   bool
	plain    decoding // without a registry
	compiled compiled
}

func newProtobuf(c Config, m Mapping, types *event.Types, registry *schemaregistry.Client) (Decoder, error) {
	d := &protobufDecoder{rules: newRules(m, types), strict: m.UnknownFields == UnknownReject}
	if registry != nil {
		d.compiled = compiled{registry: registry, make: d.compile, made: map[schemaKey]outcome{}}
		return d, nil
	}
	if _, err := readSchemaFile(c.SchemaFile); err != nil {
		return nil, err
	}
	message, err := protoschema.File(c.SchemaFile, c.ImportPaths, c.Message)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSchema, err)
	}
	plan, err := d.plan(message)
	if err != nil {
		return nil, fmt.Errorf("schema_file: %w", err)
	}
	d.plain = plan
	return d, nil
}

// Decode implements Decoder.
func (d *protobufDecoder) Decode(ctx context.Context, r *Record, now event.Time, into *event.Event) (*source.Bad, error) {
	if d.plain != nil {
		return run(d.plain, d.rules, r.Value, r, now, into), nil
	}
	id, message, err := schemaregistry.ReadHeader(r.Value)
	if err != nil {
		return badHeader(err), nil
	}
	indexes, value, err := schemaregistry.ReadIndexes(message)
	if err != nil {
		return badHeader(err), nil
	}
	key := schemaKey{id: id}
	if header := message[:len(message)-len(value)]; len(header) > 1 {
		key.indexes = string(header)
	}
	plan, bad, err := d.compiled.of(ctx, key, indexes)
	if bad != nil || err != nil {
		return badOf(bad), err
	}
	return run(plan, d.rules, value, r, now, into), nil
}

// compile makes a plan of a message type of a schema.
func (d *protobufDecoder) compile(s *schemaregistry.Schema, indexes []int) (decoding, error) {
	if s.Type != sr.TypeProtobuf {
		return nil, fmt.Errorf("%w: schema %d is one of %s, and the topic's format is %s", ErrSchema, s.ID, s.Type, Protobuf)
	}
	imports := map[string]string{}
	for _, r := range s.References {
		imports[r.Name] = r.Text
	}
	list, err := protoschema.Text(s.Text, imports)
	if err != nil {
		return nil, fmt.Errorf("%w: schema %d: %w", ErrSchema, s.ID, err)
	}
	message := protoschema.At(list, indexes)
	if message == nil {
		return nil, fmt.Errorf("%w: schema %d has no message type %v", ErrSchema, s.ID, indexes)
	}
	plan, err := d.plan(message)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", s.ID, err)
	}
	return plan, nil
}

// plan decides which fields of a message are read, and how.
func (d *protobufDecoder) plan(message protoreflect.MessageDescriptor) (*protobufPlan, error) {
	p := &protobufPlan{name: string(message.FullName()), fields: map[protoreflect.FieldNumber]*protobufField{}}
	names := map[field]string{}
	var all []string
	for i := range message.Fields().Len() {
		f := message.Fields().Get(i)
		if len(all) < maxListed {
			all = append(all, string(f.Name()))
		}
		meaning, isField, known := d.rules.meant(string(f.Name()), f.JSONName())
		if !known && d.strict {
			return nil, fmt.Errorf("%w: %s: want a known field, as unknown_fields is %s, got %s", ErrSchema, p.name, UnknownReject, f.Name())
		}
		if !isField {
			continue
		}
		if names[meaning] != "" {
			return nil, fmt.Errorf(`%w: %s: want one field that is the %s, got %s and %s; fields: {%[5]s: ""} ignores one`,
				ErrSchema, p.name, fieldNames[meaning], names[meaning], f.Name())
		}
		names[meaning] = string(f.Name())
		read, err := newProtobufField(f, meaning)
		if err != nil {
			return nil, fmt.Errorf("%w: %s.%s: want %s, got %w", ErrSchema, p.name, f.Name(), expectedOf(meaning), err)
		}
		p.add(read)
	}
	for _, need := range []field{userField, itemField} {
		if names[need] == "" {
			return nil, fmt.Errorf("%w: %s: want a field that is the %s, got %s; the mapping's fields: {NAME: %[3]s} says which it is",
				ErrSchema, p.name, fieldNames[need], strings.Join(all, ", "))
		}
	}
	return p, nil
}
