package format

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/source"
)

// Config says what the values of a topic are written in.
type Config struct {
	// Format is json, avro, protobuf or counter; empty is json.
	Format string `yaml:"format"`
	// SchemaFile is a file with the schema. Without a registry it is what values
	// are written with: an Avro schema in JSON, or a .proto file. With one it is
	// the reader's schema of Avro, which decides on names, aliases and defaults;
	// Protobuf has no use for it then.
	SchemaFile string `yaml:"schema_file"`
	// ImportPaths are the folders in which a .proto file finds what it imports;
	// none means the folder that it lies in.
	ImportPaths []string `yaml:"import_paths"`
	// Message is the full name of the message in a .proto file.
	Message string `yaml:"message"`
}

// ErrSchema is the error of a schema that cannot be used.
var ErrSchema = errors.New("invalid schema")

// Validate says which setting is wrong; hasRegistry says whether there is a
// schema registry.
func (c *Config) Validate(hasRegistry bool) error {
	switch c.Format {
	case "", JSON, Counter:
		if c.SchemaFile != "" || c.Message != "" || len(c.ImportPaths) > 0 {
			return fmt.Errorf("schema_file, message, import_paths: only with the formats %s and %s, got format %q", Avro, Protobuf, c.Format)
		}
		return nil
	case Avro:
		if c.Message != "" || len(c.ImportPaths) > 0 {
			return fmt.Errorf("message, import_paths: only with the format %s, got format %q", Protobuf, c.Format)
		}
		if c.SchemaFile == "" && !hasRegistry {
			return errors.New("schema_file: want a file with the Avro schema, or a schema registry, got neither")
		}
		return nil
	case Protobuf:
		switch {
		case hasRegistry && (c.SchemaFile != "" || c.Message != ""):
			return errors.New("schema_file, message: want neither with a schema registry, whose messages say which schema they have")
		case !hasRegistry && (c.SchemaFile == "" || c.Message == ""):
			return errors.New("schema_file, message: want a .proto file and the full name of the message in it, or a schema registry, got neither")
		}
		return nil
	}
	return fmt.Errorf("format: want %s, %s, %s or %s, got %q", JSON, Avro, Protobuf, Counter, c.Format)
}

// New makes the Decoder of a topic; types and registry may be nil.
func New(c Config, m Mapping, types *event.Types, registry *schemaregistry.Client) (Decoder, error) {
	if err := c.Validate(registry != nil); err != nil {
		return nil, err
	}
	switch c.Format {
	case Avro:
		return newAvro(c, m, types, registry)
	case Protobuf:
		return newProtobuf(c, m, types, registry)
	case Counter:
		return NewCounter(types), nil
	}
	return NewJSON(m, types), nil
}

// maxSchemaBytes bounds a schema file.
const maxSchemaBytes = 4 << 20

func readSchemaFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("schema_file: %w", err)
	}
	if info.Size() > maxSchemaBytes {
		return "", fmt.Errorf("schema_file: want at most %d bytes, got %d in %s", maxSchemaBytes, info.Size(), filepath.Base(path))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("schema_file: %w", err)
	}
	return string(text), nil
}

// decoding is what was made of one schema, to decode the values that were
// written with it.
type decoding interface {
	// decode reads a value into the builder. What is wrong with a value, rather
	// than with a field of it, is the error.
	decode(value []byte, b *builder) error
}

// compiled keeps what was made of the schemas of a registry, by id. A schema
// that nothing can be made of is kept as well: its messages are bad.
type compiled struct {
	registry *schemaregistry.Client
	make     func(s *schemaregistry.Schema, indexes []int) (decoding, error)

	mu   sync.RWMutex
	made map[schemaKey]outcome
}

// schemaKey is a schema of the registry and, of Protobuf, which of its message
// types: as the message's header has it.
type schemaKey struct {
	id      int
	indexes string
}

type outcome struct {
	decoding decoding
	err      error
}

// maxCompiled bounds the schemas that are kept compiled.
const maxCompiled = 1000

// of is what was made of a schema. bad says that the message is to blame; err
// that the registry does not answer at present.
func (c *compiled) of(ctx context.Context, key schemaKey, indexes []int) (d decoding, bad *event.FieldError, err error) {
	c.mu.RLock()
	o, ok := c.made[key]
	c.mu.RUnlock()
	if !ok {
		schema, err := c.schema(ctx, key.id)
		if errors.Is(err, schemaregistry.ErrUnknownSchema) {
			return nil, event.Unexpected("", "a message whose schema the registry knows", []byte(err.Error())), nil
		}
		if err != nil {
			return nil, nil, err
		}
		o.decoding, o.err = c.make(schema, indexes)
		c.mu.Lock()
		if len(c.made) >= maxCompiled {
			clear(c.made)
		}
		c.made[key] = o
		c.mu.Unlock()
	}
	if o.err != nil {
		return nil, event.Unexpected("", "a schema that events can be made of", []byte(o.err.Error())), nil
	}
	return o.decoding, nil, nil
}

// registryPatience is how long a schema is waited for before whoever reads is
// told that it does not come, to ask again.
const registryPatience = 2 * time.Second

// schema is a schema of the registry, or why the registry does not answer.
func (c *compiled) schema(ctx context.Context, id int) (*schemaregistry.Schema, error) {
	patient, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	s, err := c.registry.Schema(patient, id)
	if patient.Err() != nil && ctx.Err() == nil && err != nil {
		if away := c.registry.Err(); away != nil {
			err = away
		}
	}
	return s, err
}

// badHeader is a message without the header of a registry.
func badHeader(err error) *source.Bad {
	return &source.Bad{Err: event.Unexpected("", "a message with the id of its schema in the registry: a zero byte and four of the id", []byte(err.Error()))}
}

// run decodes a value.
func run(d decoding, rules *rules, value []byte, r *Record, now event.Time, into *event.Event) *source.Bad {
	var b builder
	b.begin(rules)
	if err := d.decode(value, &b); err != nil && b.fault == nil {
		b.fault = event.Unexpected("", "a value as its schema has it", []byte(err.Error()))
	}
	return b.end(r, now, into)
}

func badOf(fault *event.FieldError) *source.Bad {
	if fault == nil {
		return nil
	}
	return &source.Bad{Err: fault}
}
