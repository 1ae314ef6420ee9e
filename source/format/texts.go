package format

import (
	"fmt"
	"time"

	"millrace/event"
)

// Texts makes events of fields that are text, such as those of the lines of
// logs. Its methods may be called concurrently.
type Texts struct {
	rules  *rules
	strict bool
	layout string
}

// NewTexts makes a Texts. The layout is that of timestamps as package time has
// it, for those that are neither RFC 3339 nor numbers; empty for none. Fields
// without text, and those of a single dash, count as not there.
func NewTexts(m Mapping, types *event.Types, layout string) *Texts {
	return &Texts{rules: newRules(m, types), strict: m.UnknownFields == UnknownReject, layout: layout}
}

// Field is what a field is for; see Texts.Field.
type Field struct {
	meaning field
	isField bool
	fixed   string // the value that it has, whatever the text
}

// EventType is a field that gives events a type, whatever a line says.
func EventType(name string) Field { return Field{meaning: typeField, isField: true, fixed: name} }

// Field is what a name means; known is false for one that must not be there.
func (t *Texts) Field(name string) (f Field, known bool) {
	f.meaning, f.isField, known = t.rules.meant(name)
	return f, known || !t.strict
}

// Layout is what the names of columns mean; an empty one means nothing. The error says which of them are
// missing, unknown, or mean the same.
func (t *Texts) Layout(names []string) ([]Field, error) {
	list := make([]Field, len(names))
	by := map[field]string{}
	for i, name := range names {
		if name == "" {
			continue
		}
		f, known := t.Field(name)
		if !known {
			return nil, fmt.Errorf("want known fields, as unknown_fields is %s, got %q", UnknownReject, name)
		}
		if f.isField && by[f.meaning] != "" {
			return nil, fmt.Errorf(`want one field that is the %s, got %s and %s; fields: {%[3]s: ""} ignores one`, fieldNames[f.meaning], by[f.meaning], name)
		}
		if f.isField {
			by[f.meaning] = name
		}
		list[i] = f
	}
	return list, nil
}

// Needs says which of the fields that every event has are missing of a layout.
func (t *Texts) Needs(layout []Field) error {
	for _, need := range []field{userField, itemField, timeField} {
		found := need == timeField && t.rules.recordTime
		for _, f := range layout {
			found = found || f.isField && f.meaning == need
		}
		if !found {
			return fmt.Errorf("want a field that is the %s, got none; fields: {NAME: %[1]s} says which it is", fieldNames[need])
		}
	}
	return nil
}

// Event makes the event of fields and their texts, as many of the one as of the
// other, at a time of the wall clock. Of fields that mean the same the first
// with a text counts.
func (t *Texts) Event(fields []Field, texts [][]byte, now event.Time, into *event.Event) *event.FieldError {
	var b builder
	b.begin(t.rules)
	var seen uint16
	for i, f := range fields {
		text := texts[i]
		if !f.isField || seen&(1<<f.meaning) != 0 || f.fixed == "" && (len(text) == 0 || len(text) == 1 && text[0] == '-') {
			continue
		}
		seen |= 1 << f.meaning
		switch {
		case f.fixed != "":
			b.event.Type = f.fixed
		case f.meaning == timeField && t.layout != "":
			at, err := time.Parse(t.layout, string(text))
			if err != nil {
				b.refuse(timeField, "a time written as "+t.layout, text)
			}
			b.event.Time = event.FromGo(at)
		default:
			b.text(f.meaning, text)
		}
	}
	if bad := b.end(&Record{Time: now}, now, into); bad != nil {
		return bad.Err
	}
	return nil
}
