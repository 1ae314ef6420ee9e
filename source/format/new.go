package format

import (
	"fmt"

	"millrace/event"
)

// Config says what the values of a topic are written in.
type Config struct {
	// Format is json or counter; empty is json.
	Format string `yaml:"format"`
}

// Validate says which setting is wrong.
func (c *Config) Validate() error {
	switch c.Format {
	case "", JSON, Counter:
		return nil
	}
	return fmt.Errorf("format: want %s or %s, got %q", JSON, Counter, c.Format)
}

// New makes the Decoder of a topic; types may be nil.
func New(c Config, m Mapping, types *event.Types) (Decoder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Format == Counter {
		return NewCounter(types), nil
	}
	return NewJSON(m, types), nil
}
