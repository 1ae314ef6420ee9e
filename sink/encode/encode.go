// Package encode writes what is published in other formats than JSON: Avro and
// Protobuf, of a schema in a file, which is registered with a schema registry if
// there is one.
package encode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"millrace/internal/protoschema"
	"millrace/internal/schemaregistry"
)

// The formats.
const (
	JSON     = "json"
	Avro     = "avro"
	Protobuf = "protobuf"
)

// Config says what values are written in.
type Config struct {
	// Format is json, avro or protobuf; empty is json.
	Format string `yaml:"format"`
	// SchemaFile is a file with the schema of Avro or Protobuf.
	SchemaFile string `yaml:"schema_file"`
	// Message is the full name of the message in a .proto file.
	Message string `yaml:"message"`
}

// The errors of this package, for errors.Is.
var (
	// ErrSchema is the error of a schema that cannot be used.
	ErrSchema = errors.New("invalid schema")
	// ErrValue is the error of a value that does not fit its schema.
	ErrValue = errors.New("the value does not fit the schema")
)

// Validate says which setting is wrong.
func (c *Config) Validate() error {
	switch c.Format {
	case "", JSON:
		if c.SchemaFile != "" || c.Message != "" {
			return fmt.Errorf("schema_file, message: only with the formats %s and %s, got format %q", Avro, Protobuf, c.Format)
		}
	case Avro:
		if c.SchemaFile == "" {
			return errors.New("schema_file: want a file with the Avro schema, got none")
		}
		if c.Message != "" {
			return fmt.Errorf("message: only with the format %s, got format %q", Protobuf, c.Format)
		}
	case Protobuf:
		if c.SchemaFile == "" || c.Message == "" {
			return errors.New("schema_file, message: want a .proto file and the full name of the message in it, got neither or one")
		}
	default:
		return fmt.Errorf("format: want %s, %s or %s, got %q", JSON, Avro, Protobuf, c.Format)
	}
	return nil
}

// Encoder writes values of one format. Its methods may be called concurrently.
type Encoder struct {
	text     string // of the schema
	kind     sr.SchemaType
	avro     *avro.Schema
	protobuf protoreflect.MessageDescriptor
}

// New makes an Encoder; that of JSON leaves values as they are.
func New(c Config) (*Encoder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	e := &Encoder{}
	if c.SchemaFile == "" {
		return e, nil
	}
	text, err := os.ReadFile(c.SchemaFile)
	if err != nil {
		return nil, fmt.Errorf("schema_file: %w", err)
	}
	e.text = string(text)
	if c.Format == Avro {
		if e.avro, err = avro.Parse(e.text); err == nil && e.avro.Root().Type != "record" {
			err = fmt.Errorf("want a record, got %s", e.avro.Root().Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: schema_file: %w", ErrSchema, err)
		}
		return e, nil
	}
	e.kind = sr.TypeProtobuf
	if e.protobuf, err = protoschema.File(c.SchemaFile, nil, c.Message); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSchema, err)
	}
	return e, nil
}

// Register registers the schema for the values of a topic and returns the
// header that each of them begins with: nil for JSON. It waits while the
// registry does not answer; the error is that of ctx, or
// schemaregistry.ErrRefused.
func (e *Encoder) Register(ctx context.Context, registry *schemaregistry.Client, topic string) (header []byte, err error) {
	if e.text == "" {
		return nil, nil
	}
	id, err := registry.Register(ctx, topic+"-value", sr.Schema{Schema: e.text, Type: e.kind})
	if err != nil {
		return nil, err
	}
	var indexes []int
	if e.protobuf != nil {
		indexes = protoschema.Indexes(e.protobuf)
	}
	return schemaregistry.AppendHeader(nil, id, indexes)
}

// Append appends a value, which is a JSON object, in the format. Members that
// the schema does not have are left out, and those that it has and the value
// does not have its defaults. The error is ErrValue; dst is as it was then.
func (e *Encoder) Append(dst, object []byte) ([]byte, error) {
	switch {
	case e.avro != nil:
		var value map[string]any
		d := json.NewDecoder(bytes.NewReader(object))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			return dst, fmt.Errorf("%w: %w", ErrValue, err)
		}
		out, err := e.avro.AppendEncode(dst, value)
		if err != nil {
			return dst, fmt.Errorf("%w: %w", ErrValue, err)
		}
		return out, nil
	case e.protobuf != nil:
		message := dynamicpb.NewMessage(e.protobuf)
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 100}).Unmarshal(object, message); err != nil {
			return dst, fmt.Errorf("%w: %w", ErrValue, err)
		}
		out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, message)
		if err != nil {
			return dst, fmt.Errorf("%w: %w", ErrValue, err)
		}
		return out, nil
	}
	return append(dst, object...), nil
}
