// Package csvline splits the lines of files with separated values into fields.
package csvline

import (
	"bytes"
	"slices"
)

// separators are what may stand between fields. The header tells which it is:
// the one that occurs most, the first of equals.
const separators = ",\t;|"

// Separators are what Separator may find.
func Separators() string { return separators }

// Separator is what stands between the fields of a header.
func Separator(header []byte) byte {
	best := separators[0]
	for _, c := range []byte(separators) {
		if bytes.Count(header, []byte{c}) > bytes.Count(header, []byte{best}) {
			best = c
		}
	}
	return best
}

// Row splits lines into fields as RFC 4180 has it, except that a record is one
// line: a field in quotes may hold separators and doubled quotes, but no line
// break.
type Row struct {
	Separator byte
	Fields    [][]byte // of the last line that was split
	scratch   []byte   // of fields in quotes
}

// Split sets Fields to those of the line; they are parts of the line or of
// scratch. It is false when a quote does not close or is followed by text.
func (r *Row) Split(line []byte) bool {
	r.Fields = r.Fields[:0]
	if bytes.IndexByte(line, '"') >= 0 {
		return r.splitQuoted(line)
	}
	for {
		end := bytes.IndexByte(line, r.Separator)
		if end < 0 {
			r.Fields = append(r.Fields, line)
			return true
		}
		r.Fields = append(r.Fields, line[:end])
		line = line[end+1:]
	}
}

func (r *Row) splitQuoted(line []byte) bool {
	r.scratch = slices.Grow(r.scratch[:0], len(line)) // so that fields in it stay where they are
	for {
		if len(line) == 0 || line[0] != '"' {
			field, rest, more := bytes.Cut(line, []byte{r.Separator})
			if bytes.IndexByte(field, '"') >= 0 {
				return false
			}
			r.Fields = append(r.Fields, field)
			if !more {
				return true
			}
			line = rest
			continue
		}
		begin := len(r.scratch)
		for line = line[1:]; ; line = line[1:] {
			end := bytes.IndexByte(line, '"')
			if end < 0 {
				return false
			}
			r.scratch = append(r.scratch, line[:end]...)
			if line = line[end+1:]; len(line) == 0 || line[0] != '"' {
				break
			}
			r.scratch = append(r.scratch, '"')
		}
		r.Fields = append(r.Fields, r.scratch[begin:len(r.scratch):len(r.scratch)])
		switch {
		case len(line) == 0:
			return true
		case line[0] != r.Separator:
			return false
		}
		line = line[1:]
	}
}
