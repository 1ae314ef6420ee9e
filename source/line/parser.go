package line

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"

	"millrace/event"
	"millrace/internal/csvline"
	"millrace/source/format"
)

// Verdict is what a line is.
type Verdict uint8

// The verdicts.
const (
	Event   Verdict = iota // it makes an event
	Ignored                // it is none, and is not meant to be
	Bad                    // it should be one
)

// Parser makes events of lines. It is used by one goroutine.
type Parser struct {
	config   Config
	types    *event.Types
	texts    *format.Texts
	json     format.Decoder
	pattern  *regexp.Regexp
	requests []*request
	fields   []format.Field // of columns, groups or an access log's line
	row      csvline.Row
	header   []byte // that fields are of
	headed   error  // what is wrong with it
	names    map[string]format.Field
	pairs    pairs
}

// New makes a Parser. Its error is ErrConfig.
func New(c Config, types *event.Types) (*Parser, error) {
	p, err := compile(c, types)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return p, nil
}

func compile(c Config, types *event.Types) (*Parser, error) {
	if err := c.check(types); err != nil {
		return nil, err
	}
	layout := c.TimeLayout
	if c.Form == Access {
		layout = accessTime
		c.Mapping.Fields = maps.Clone(c.Mapping.Fields)
		if c.Mapping.Fields == nil {
			c.Mapping.Fields = map[string]string{}
		}
		if _, told := c.Mapping.Fields["time_local"]; !told {
			c.Mapping.Fields["time_local"] = "timestamp"
		}
	}
	p := &Parser{config: c, types: types, texts: format.NewTexts(c.Mapping, types, layout)}
	var err error
	switch c.Form {
	case JSONLines:
		p.json = format.NewJSON(c.Mapping, types)
	case CSV, TSV:
		err = p.columns(c)
	case Regexp:
		if p.pattern, err = regexp.Compile(c.Pattern); err != nil || c.Pattern == "" {
			return nil, fmt.Errorf("pattern: want a regular expression with named groups, such as (?P<user_id>[a-z]+) bought (?P<item_id>[0-9]+), got %q", c.Pattern)
		}
		if p.fields, err = p.texts.Layout(p.pattern.SubexpNames()); err == nil {
			err = p.texts.Needs(p.fields)
		}
		if err != nil {
			err = fmt.Errorf("pattern: %w", err)
		}
	case KeyValue:
		p.names = map[string]format.Field{}
	case Access:
		for _, name := range accessNames {
			f, _ := p.texts.Field(name)
			p.fields = append(p.fields, f)
		}
		for i := range c.Requests {
			r, err := c.Requests[i].compile(p.texts, types)
			if err != nil {
				return nil, fmt.Errorf("requests[%d]: %w", i, err)
			}
			p.requests = append(p.requests, r)
		}
		p.names = map[string]format.Field{}
	}
	return p, err
}

// columns sets what can be known before there is a header.
func (p *Parser) columns(c Config) error {
	p.row.Separator = ','
	switch {
	case c.Form == TSV:
		p.row.Separator = '\t'
	case c.Separator != "":
		p.row.Separator = c.Separator[0]
	}
	if len(c.Columns) == 0 {
		return nil
	}
	var err error
	if p.fields, err = p.texts.Layout(c.Columns); err == nil {
		err = p.texts.Needs(p.fields)
	}
	if err != nil {
		return fmt.Errorf("columns: %w", err)
	}
	return nil
}

// Parse makes the event of a line of a file with this header, nil if it has
// none. now is the wall clock, that events must not be far ahead of.
func (p *Parser) Parse(header, line []byte, now event.Time, into *event.Event) (Verdict, *event.FieldError) {
	if len(bytes.TrimSpace(line)) == 0 {
		return Ignored, nil
	}
	verdict := Event
	var fault *event.FieldError
	switch p.config.Form {
	case JSONLines:
		fault = p.parseJSON(line, now, into)
	case CSV, TSV:
		fault = p.parseRow(header, line, now, into)
	case Regexp:
		verdict, fault = p.parsePattern(line, now, into)
	case KeyValue:
		fault = p.parsePairs(line, now, into)
	case Access:
		verdict, fault = p.parseAccess(line, now, into)
	}
	if fault != nil {
		return Bad, fault
	}
	return verdict, nil
}

func (p *Parser) parseJSON(line []byte, now event.Time, into *event.Event) *event.FieldError {
	bad, err := p.json.Decode(context.Background(), &format.Record{Value: line, Time: now}, now, into)
	switch {
	case err != nil: // which JSON has none of
		return event.Unexpected("", "JSON", []byte(err.Error()))
	case bad != nil:
		return bad.Err
	}
	return nil
}

// parseRow reads separated values.
func (p *Parser) parseRow(header, line []byte, now event.Time, into *event.Event) *event.FieldError {
	if p.config.NeedsHeader() && !bytes.Equal(header, p.header) {
		p.header = append(p.header[:0], header...)
		p.headed = p.readHeader(header)
	}
	if p.headed != nil {
		return event.Unexpected("", "a file whose first line names the columns", []byte(p.headed.Error()))
	}
	if !p.split(line) {
		return event.Unexpected("", "fields in quotes that close on their line, with doubled quotes in them", line)
	}
	if len(p.row.Fields) != len(p.fields) {
		return event.Unexpected("", fmt.Sprintf("%d fields", len(p.fields)), fmt.Appendf(nil, "%d: %s", len(p.row.Fields), line))
	}
	for i, text := range p.row.Fields {
		p.row.Fields[i] = bytes.TrimSpace(text)
	}
	return p.texts.Event(p.fields, p.row.Fields, now, into)
}

func (p *Parser) readHeader(header []byte) error {
	if p.config.Form == CSV && p.config.Separator == "" {
		p.row.Separator = csvline.Separator(header)
	}
	if !p.split(header) {
		return fmt.Errorf("a header that can not be split, %.80q", header)
	}
	names := make([]string, len(p.row.Fields))
	for i, name := range p.row.Fields {
		names[i] = string(bytes.TrimSpace(bytes.TrimPrefix(name, []byte("\xef\xbb\xbf"))))
	}
	var err error
	if p.fields, err = p.texts.Layout(names); err != nil {
		return err
	}
	return p.texts.Needs(p.fields)
}

// split splits a line into the row's fields; tabs know no quotes.
func (p *Parser) split(line []byte) bool {
	if p.config.Form == TSV {
		p.row.Fields = append(p.row.Fields[:0], bytes.Split(line, []byte{'\t'})...)
		return true
	}
	return p.row.Split(line)
}

// parsePattern reads what the groups of a regular expression match.
func (p *Parser) parsePattern(line []byte, now event.Time, into *event.Event) (Verdict, *event.FieldError) {
	groups := p.pattern.FindSubmatch(line)
	if groups == nil {
		if p.config.IgnoreOthers {
			return Ignored, nil
		}
		return Bad, event.Unexpected("", "a line that the pattern matches", line)
	}
	return Event, p.texts.Event(p.fields, groups, now, into)
}

// field is what a name means, remembered.
func (p *Parser) field(name []byte) (format.Field, bool) {
	if f, ok := p.names[string(name)]; ok {
		return f, true
	}
	f, known := p.texts.Field(string(name))
	if known {
		if len(p.names) >= maxNames {
			clear(p.names)
		}
		p.names[string(name)] = f
	}
	return f, known
}

// maxNames bounds the names that are remembered.
const maxNames = 1000
