package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/sink/encode"
)

// Format says what the values of topics are written in.
type Format struct {
	// Topics are names of results, without the prefix; one that ends with * is of
	// all that begin so.
	Topics []string `yaml:"topics"`
	// Config is the format, and its schema.
	encode.Config `yaml:",inline"`
}

// check says what is wrong with the settings.
func (f *Format) check() error {
	if len(f.Topics) == 0 || slices.Contains(f.Topics, "") {
		return fmt.Errorf("%w: publish.formats: topics: want names of topics without the prefix, got %q", kafkaclient.ErrConfig, f.Topics)
	}
	if err := f.Validate(); err != nil {
		return fmt.Errorf("%w: publish.formats: %w", kafkaclient.ErrConfig, err)
	}
	return nil
}

// matches reports whether the format is of a topic.
func (f *Format) matches(topic string) bool {
	return slices.ContainsFunc(f.Topics, func(name string) bool {
		if begin, ok := strings.CutSuffix(name, "*"); ok {
			return strings.HasPrefix(topic, begin)
		}
		return name == topic
	})
}

// written is how the values of one topic are written.
type written struct {
	name    string          // of the topic, with the prefix
	encoder *encode.Encoder // nil for JSON
	header  []byte
}

// encoders makes those of the formats, in their order.
func encoders(formats []Format) ([]*encode.Encoder, error) {
	var list []*encode.Encoder
	for i := range formats {
		e, err := encode.New(formats[i].Config)
		if err != nil {
			return nil, fmt.Errorf("%w: publish.formats: %w", kafkaclient.ErrConfig, err)
		}
		list = append(list, e)
	}
	return list, nil
}

// writtenAs is how the values of a topic are written: as the first format says
// that is of the topic, else as JSON. A schema is registered when its topic is
// first written to.
func (s *Sink) writtenAs(ctx context.Context, topic string) (*written, error) {
	if w, ok := s.written[topic]; ok {
		return w, nil
	}
	w := &written{name: s.config.Prefix + topic}
	i := slices.IndexFunc(s.config.Formats, func(f Format) bool { return f.matches(topic) })
	if i >= 0 && s.config.Formats[i].SchemaFile != "" {
		w.encoder = s.encoders[i]
		if s.registry != nil {
			var err error
			if w.header, err = w.encoder.Register(ctx, s.registry, w.name); err != nil {
				return nil, fmt.Errorf("register the schema of topic %s: %w", w.name, err)
			}
		}
	}
	s.written[topic] = w
	return w, nil
}

// value is a value as it is written. The error is encode.ErrValue.
func (w *written) value(object []byte) ([]byte, error) {
	if w.encoder == nil {
		return object, nil
	}
	return w.encoder.Append(slices.Clone(w.header), object)
}

// registryWords say what is wrong with the schema registry, "" if it is not that.
func (s *Sink) registryWords(err error) string {
	switch {
	case errors.Is(err, schemaregistry.ErrRefused):
		return fmt.Sprintf("the schema registry refuses a schema, as it is not compatible with the one before: correct schema_file, or the subject's compatibility (%v)", err)
	case s.registry != nil && s.registry.Err() != nil:
		return fmt.Sprintf("the schema registry does not answer: %v", s.registry.Err())
	}
	return ""
}
