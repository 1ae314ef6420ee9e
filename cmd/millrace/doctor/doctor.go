// Package doctor is the command that looks at every system that a
// configuration names, and says in words what is wrong and what to do. It
// changes nothing that is somebody else's.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// State is how grave a finding is.
type State string

// The states, from good to bad.
const (
	OK      State = "ok"
	Warning State = "warning" // works, and should be known
	Failed  State = "failed"  // a start with this configuration, or something that it asks for, would not work
)

// Finding is what a check says of one thing.
type Finding struct {
	System  string `json:"system"`  // kafka, redis, ...
	Subject string `json:"subject"` // an address, a topic, a directory
	State   State  `json:"state"`
	Text    string `json:"text"` // what is so and, unless it is well, what to do
}

// Check looks at one system, and ends soon after its context has.
type Check func(ctx context.Context) []Finding

// Report is what the command writes with --json.
type Report struct {
	OK       bool      `json:"ok"` // nothing has failed
	Findings []Finding `json:"findings"`
}

// ErrUnwell is the error of a configuration with something that failed.
var ErrUnwell = errors.New("checks have failed")

type flags struct {
	config, flink string
	json          bool
	timeout       time.Duration
}

// New makes the command. read reads a configuration.
func New(read func(config string) (Settings, error)) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check every system that a configuration names, and say what to do",
		Long: `Looks at the data directory, the address to listen on, the object store, and at Kafka,
Redis, the SQL databases, imported tables and the schema registry if the configuration
names them, as the server would use them. It may run beside a server. Exit code 1 if something has failed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := read(f.config)
			list := settings.checks()
			if err != nil {
				list = []Check{wrongConfiguration(f.config, err)}
			} else if f.flink != "" {
				list = append(list, Flink(f.flink))
			}
			return write(c.OutOrStdout(), examine(c.Context(), list, f.timeout), f.json)
		},
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration file (YAML)")
	c.Flags().StringVar(&f.flink, "flink", "", "also check a Flink cluster: the address of its REST interface, such as http://127.0.0.1:8081")
	c.Flags().BoolVar(&f.json, "json", false, "write JSON")
	c.Flags().DurationVar(&f.timeout, "timeout", 15*time.Second, "how long the check of one system may take")
	return c
}

// wrongConfiguration is the only finding about a configuration that can't be used.
func wrongConfiguration(path string, err error) Check {
	return func(context.Context) []Finding {
		if path == "" {
			path = "environment"
		}
		return []Finding{{System: "configuration", Subject: path, State: Failed, Text: err.Error()}}
	}
}

// examine runs the checks side by side, and returns their findings in the
// order of the checks.
func examine(ctx context.Context, checks []Check, timeout time.Duration) Report {
	results := make([]chan []Finding, len(checks))
	for i, check := range checks {
		results[i] = make(chan []Finding, 1)
		go func() {
			ctx, stop := context.WithTimeout(ctx, timeout)
			defer stop()
			results[i] <- check(ctx)
		}()
	}
	report := Report{OK: true, Findings: []Finding{}}
	for _, result := range results {
		for _, f := range <-result {
			report.OK = report.OK && f.State != Failed
			report.Findings = append(report.Findings, f)
		}
	}
	return report
}

// write prints a report. The error is ErrUnwell if something has failed.
func write(out io.Writer, report Report, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(report); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	} else {
		for _, f := range report.Findings {
			if _, err := fmt.Fprintf(out, "%-8s %-15s %s: %s\n", f.State, f.System, f.Subject, f.Text); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
	failed := 0
	for _, f := range report.Findings {
		if f.State == Failed {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d %w", failed, len(report.Findings), ErrUnwell)
	}
	return nil
}

// scribe collects the findings about one system.
type scribe struct {
	system string
	list   []Finding
}

func (s *scribe) say(state State, subject, format string, args ...any) {
	s.list = append(s.list, Finding{System: s.system, Subject: subject, State: state, Text: fmt.Sprintf(format, args...)})
}

// Skew beyond toleratedSkew is said: event times, leases and certificates
// go by clocks. Events that are 5 minutes ahead of the server's are refused.
const toleratedSkew = 5 * time.Second

// clock compares a system's clock, which was asked between two moments of ours.
func (s *scribe) clock(subject string, theirs, before, after time.Time) {
	skew := time.Duration(0)
	switch {
	case theirs.Before(before):
		skew = theirs.Sub(before)
	case theirs.After(after):
		skew = theirs.Sub(after)
	}
	if skew.Abs() > toleratedSkew {
		s.say(Warning, subject, "its clock is %v off from this machine's: have both set by NTP; events of the future are refused from 5 minutes on", skew.Round(time.Second))
	}
}

// about does not repeat the subject at the beginning of words about it.
func about(subject, words string) string {
	if rest, ok := strings.CutPrefix(words, subject+" "); ok {
		return "it " + rest
	}
	return words
}
