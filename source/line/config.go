// Package line makes events of the lines of logs: by the form that they are
// written in, and the mapping from their fields to those of an event.
package line

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"millrace/event"
	"millrace/source/format"
)

// The forms of lines.
const (
	JSONLines = "jsonl"    // an event as POST /v1/events takes it, with the names of the mapping
	CSV       = "csv"      // separated values; the first line names them unless columns does
	TSV       = "tsv"      // the same with tabs, without quotes
	Regexp    = "regexp"   // a regular expression whose named groups are the fields
	KeyValue  = "keyvalue" // key=value key="another value" ...
	Access    = "access"   // the common or combined format of access logs
)

// Config says how lines are written, and what they mean.
type Config struct {
	// Form is one of the forms.
	Form string `yaml:"form"`
	// Columns are the names of the columns of csv and tsv whose files have no
	// header; an empty one is not read.
	Columns []string `yaml:"columns"`
	// Separator is what stands between the columns of csv; empty takes the one
	// of comma, tab, semicolon and bar that the header has most of.
	Separator string `yaml:"separator"`
	// Pattern is the regular expression (RE2) of regexp. A line that it does not
	// match is bad, unless IgnoreOthers.
	Pattern string `yaml:"pattern"`
	// TimeLayout is how timestamps are written, as Go's package time has it:
	// "02/Jan/2006:15:04:05 -0700". Empty: RFC 3339 or a number.
	TimeLayout string `yaml:"time_layout"`
	// IgnoreOthers passes over lines that the pattern of regexp does not match.
	IgnoreOthers bool `yaml:"ignore_others"`
	// Requests say which requests of an access log are events: the first that
	// fits counts, and what fits none is passed over.
	Requests []Request `yaml:"requests"`
	// Mapping is how fields make an event.
	Mapping format.Mapping `yaml:",inline"`
}

// Request says which requests are events.
type Request struct {
	// Path is a regular expression (RE2) of the whole path, without the query.
	// Its named groups are fields: ^/products/(?P<item_id>[^/]+)$
	Path string `yaml:"path"`
	// EventType is the type of the events; empty leaves it to the mapping.
	EventType string `yaml:"event_type"`
	// Methods are those that count; none means GET.
	Methods []string `yaml:"methods"`
	// Statuses are those that count, such as 200 or 2xx; none means 2xx and 304.
	Statuses []string `yaml:"statuses"`
}

// ErrConfig is the error of a configuration that cannot be used.
var ErrConfig = errors.New("invalid rules of lines")

// NeedsHeader says whether the first line of each file names its columns.
func (c *Config) NeedsHeader() bool {
	return (c.Form == CSV || c.Form == TSV) && len(c.Columns) == 0
}

// Validate says which setting is wrong, what was wanted and what was got.
func (c *Config) Validate(types *event.Types) error {
	_, err := New(*c, types)
	return err
}

func (c *Config) check(types *event.Types) error {
	forms := []string{JSONLines, CSV, TSV, Regexp, KeyValue, Access}
	only := func(setting string, given bool, forms ...string) error {
		if given && !slices.Contains(forms, c.Form) {
			return fmt.Errorf("%s: only with form %s, got form %q", setting, strings.Join(forms, " or "), c.Form)
		}
		return nil
	}
	if !slices.Contains(forms, c.Form) {
		return fmt.Errorf("form: want one of %s, got %q", strings.Join(forms, ", "), c.Form)
	}
	if err := errors.Join(
		only("columns", len(c.Columns) > 0, CSV, TSV), only("separator", c.Separator != "", CSV), only("pattern", c.Pattern != "", Regexp),
		only("ignore_others", c.IgnoreOthers, Regexp), only("requests", len(c.Requests) > 0, Access),
		only("time_layout", c.TimeLayout != "", CSV, TSV, Regexp, KeyValue),
	); err != nil {
		return err
	}
	switch {
	case len(c.Separator) > 1:
		return fmt.Errorf("separator: want one character, got %q", c.Separator)
	case c.Form == Access && len(c.Requests) == 0:
		return errors.New("requests: want at least one, as no request is an event otherwise, got none")
	case c.TimeLayout != "" && time.Unix(0, 0).UTC().Format(c.TimeLayout) == c.TimeLayout:
		return fmt.Errorf("time_layout: want how 2 January 2006, 15:04:05 is written, got %q", c.TimeLayout)
	}
	return c.Mapping.Validate(types)
}

// request is a Request that can be asked.
type request struct {
	path     *regexp.Regexp
	fields   []format.Field // of the groups of path, the whole match included
	kind     string
	methods  []string
	statuses []string
}

func (r *Request) compile(t *format.Texts, types *event.Types) (*request, error) {
	path, err := regexp.Compile(r.Path)
	if err != nil || r.Path == "" {
		return nil, fmt.Errorf("path: want a regular expression such as ^/products/(?P<item_id>[^/]+)$, got %q", r.Path)
	}
	if r.EventType != "" && !types.Has(r.EventType) {
		return nil, fmt.Errorf("event_type: want one of %s, got %q", strings.Join(types.Names(), ", "), r.EventType)
	}
	out := &request{path: path, kind: r.EventType, methods: r.Methods, statuses: r.Statuses}
	if out.fields, err = t.Layout(path.SubexpNames()); err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	if len(out.methods) == 0 {
		out.methods = []string{"GET"}
	}
	if len(out.statuses) == 0 {
		out.statuses = []string{"2xx", "304"}
	}
	for _, s := range out.statuses {
		if len(s) != 3 || strings.Trim(s, "0123456789x") != "" {
			return nil, fmt.Errorf("statuses: want statuses such as 200 or 2xx, got %q", s)
		}
	}
	return out, nil
}

// takes says whether a request counts.
func (r *request) takes(method, status []byte) bool {
	return slices.Contains(r.methods, string(method)) && slices.ContainsFunc(r.statuses, func(s string) bool {
		if len(status) != len(s) {
			return false
		}
		for i := range s {
			if s[i] != 'x' && s[i] != status[i] {
				return false
			}
		}
		return true
	})
}
