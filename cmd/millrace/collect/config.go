// Package collect tails the log files of a shop and makes events of their lines,
// each exactly once: how far a file was read is stored with the events.
package collect

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"millrace/event"
	"millrace/source/line"
	"millrace/source/tail"
)

// Config says which files are collected, and what their lines mean.
type Config struct {
	// Name is that of this machine, where several collect for one server.
	Name string `yaml:"name" env:"MILLRACE_COLLECT_NAME"`
	// PollInterval is how often files are looked at where the file system does
	// not say that they have changed.
	PollInterval time.Duration `yaml:"poll_interval" env:"MILLRACE_COLLECT_POLL_INTERVAL"`
	// Files are the groups of files.
	Files []Files `yaml:"files"`
}

// Files are files whose lines are written alike.
type Files struct {
	// Paths are patterns such as /var/log/shop/*.log*.
	Paths []string `yaml:"paths"`
	// Exclude are patterns of paths or names that are left out; not given, those
	// of compressed files.
	Exclude []string `yaml:"exclude"`
	// Start is where files begin that are there at the first start: beginning or
	// end.
	Start string `yaml:"start"`
	// MaxLineBytes bounds a line; a longer one is bad.
	MaxLineBytes int `yaml:"max_line_bytes"`
	// Config is how lines are written.
	line.Config `yaml:",inline"`
}

// Where files begin.
const (
	StartBeginning = "beginning"
	StartEnd       = "end"
)

// Default is the configuration in which nothing is set: nothing is collected.
func Default() Config { return Config{PollInterval: tail.DefaultPoll} }

// Enabled says whether anything is collected.
func (c *Config) Enabled() bool { return len(c.Files) > 0 }

// Validate says which setting is wrong, what was wanted and what was got.
func (c *Config) Validate(types *event.Types) error {
	if c.PollInterval < 10*time.Millisecond || c.PollInterval > time.Hour {
		return fmt.Errorf("collect: poll_interval: want 10ms to 1h, got %v", c.PollInterval)
	}
	if len(c.Name) > 64 {
		return fmt.Errorf("collect: name: want at most 64 bytes, got %d", len(c.Name))
	}
	for i := range c.Files {
		if err := c.Files[i].validate(types); err != nil {
			return fmt.Errorf("collect: files[%d]: %w", i, err)
		}
	}
	return nil
}

func (f *Files) validate(types *event.Types) error {
	if len(f.Paths) == 0 {
		return errors.New("paths: want at least one, got none")
	}
	for _, pattern := range append(append([]string{}, f.Paths...), f.Exclude...) {
		if _, err := filepath.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("paths, exclude: want patterns such as /var/log/shop/*.log, got %q", pattern)
		}
	}
	switch f.Start {
	case "", StartBeginning, StartEnd:
	default:
		return fmt.Errorf("start: want %s or %s, got %q", StartBeginning, StartEnd, f.Start)
	}
	if f.MaxLineBytes != 0 && (f.MaxLineBytes < 64 || f.MaxLineBytes > 8<<20) {
		return fmt.Errorf("max_line_bytes: want 64 to %d, got %d", 8<<20, f.MaxLineBytes)
	}
	return f.Validate(types)
}
