package format

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/source"
)

// avroDecoder reads values that are Avro records in binary.
type avroDecoder struct {
	rules    *rules
	strict   bool
	reader   *avro.Schema // of the file; nil if the writer's schema is read as it is
	plain    decoding     // without a registry
	compiled compiled
}

func newAvro(c Config, m Mapping, types *event.Types, registry *schemaregistry.Client) (Decoder, error) {
	d := &avroDecoder{rules: newRules(m, types), strict: m.UnknownFields == UnknownReject}
	if c.SchemaFile != "" {
		text, err := readSchemaFile(c.SchemaFile)
		if err != nil {
			return nil, err
		}
		if d.reader, err = avro.Parse(text); err != nil {
			return nil, fmt.Errorf("%w: schema_file: %w", ErrSchema, err)
		}
	}
	if registry == nil {
		plain, err := d.plan(d.reader, nil)
		if err != nil {
			return nil, fmt.Errorf("schema_file: %w", err)
		}
		d.plain = plain
		return d, nil
	}
	d.compiled = compiled{registry: registry, make: d.compile, made: map[schemaKey]outcome{}}
	return d, nil
}

// Decode implements Decoder.
func (d *avroDecoder) Decode(ctx context.Context, r *Record, now event.Time, into *event.Event) (*source.Bad, error) {
	if d.plain != nil {
		return run(d.plain, d.rules, r.Value, r, now, into), nil
	}
	id, value, err := schemaregistry.ReadHeader(r.Value)
	if err != nil {
		return badHeader(err), nil
	}
	plan, bad, err := d.compiled.of(ctx, schemaKey{id: id}, nil)
	if bad != nil || err != nil {
		return badOf(bad), err
	}
	return run(plan, d.rules, value, r, now, into), nil
}

// compile makes a plan of a writer's schema.
func (d *avroDecoder) compile(s *schemaregistry.Schema, _ []int) (decoding, error) {
	if s.Type != sr.TypeAvro {
		return nil, fmt.Errorf("%w: schema %d is one of %s, and the topic's format is %s", ErrSchema, s.ID, s.Type, Avro)
	}
	var cache avro.SchemaCache
	for _, r := range s.References {
		if _, err := cache.Parse(r.Text); err != nil {
			return nil, fmt.Errorf("%w: schema %d refers to %q: %w", ErrSchema, s.ID, r.Name, err)
		}
	}
	writer, err := cache.Parse(s.Text)
	if err != nil {
		return nil, fmt.Errorf("%w: schema %d: %w", ErrSchema, s.ID, err)
	}
	reader := d.reader
	if reader == nil {
		reader = writer
	} else if err := avro.CheckCompatibility(writer, reader); err != nil {
		return nil, fmt.Errorf("%w: schema %d can not be read with that of schema_file: %w", ErrSchema, s.ID, err)
	}
	plan, err := d.plan(reader, writer)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", s.ID, err)
	}
	return plan, nil
}

// plan decides which fields of a record are read, and how. What was written
// with the writer's schema, which is the reader's if nil, is passed over
// otherwise.
func (d *avroDecoder) plan(reader, writer *avro.Schema) (*avroPlan, error) {
	root := reader.Root()
	if root.Type != "record" {
		return nil, fmt.Errorf("%w: want a record, got %s", ErrSchema, root.Type)
	}
	p := &avroPlan{name: root.Name}
	var kept []avro.SchemaField
	for _, f := range root.Fields {
		meaning, isField, known := d.rules.meant(slices.Concat([]string{f.Name}, f.Aliases)...)
		if !known && d.strict {
			return nil, fmt.Errorf("%w: %s: want a known field, as unknown_fields is %s, got %s", ErrSchema, root.Name, UnknownReject, f.Name)
		}
		if !isField {
			continue
		}
		if at := slices.IndexFunc(p.fields, func(p avroField) bool { return p.meaning == meaning }); at >= 0 {
			return nil, fmt.Errorf(`%w: %s: want one field that is the %s, got %s and %s; fields: {%[5]s: ""} ignores one`,
				ErrSchema, root.Name, fieldNames[meaning], p.fields[at].name, f.Name)
		}
		kept = append(kept, f)
		p.fields = append(p.fields, avroField{name: f.Name, meaning: meaning})
	}
	for _, need := range []field{userField, itemField} {
		if !slices.ContainsFunc(p.fields, func(f avroField) bool { return f.meaning == need }) {
			return nil, fmt.Errorf("%w: %s: want a field that is the %s, got %s; the mapping's fields: {NAME: %[3]s} says which it is",
				ErrSchema, root.Name, fieldNames[need], listed(root.Fields))
		}
	}
	root.Fields = kept
	reduced, err := root.Schema()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSchema, root.Name, err)
	}
	if writer == nil {
		writer = reader
	}
	if p.schema, err = avro.Resolve(writer, reduced); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSchema, root.Name, err)
	}
	p.shape(kept)
	return p, nil
}

// maxListed bounds the fields that an error lists.
const maxListed = 20

// listed are the names of a record's fields.
func listed(fields []avro.SchemaField) string {
	var names []string
	for _, f := range fields[:min(len(fields), maxListed)] {
		names = append(names, f.Name)
	}
	if len(names) == 0 {
		return "no fields"
	}
	return strings.Join(names, ", ")
}

// avroError says what is wrong with a value.
func avroError(name string, err error) error {
	var semantic *avro.SemanticError
	if errors.As(err, &semantic) && semantic.Field != "" {
		return fmt.Errorf("%s.%s: %w", name, semantic.Field, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
