package event

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxIDBytes is the longest id, in bytes of UTF-8.
const MaxIDBytes = 256

// isPlainText says whether s is valid UTF-8 without control characters
// (Unicode category Cc).
func isPlainText(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return isPlainUnicode(s[i:])
		}
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// isPlainASCII says whether text is ASCII without control characters, and
// without the escapes of JSON.
func isPlainASCII(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

func isPlainUnicode(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// A decimal is a JSON number taken apart: digits × 10^exponent. It has neither
// leading nor trailing zeros, so it is whole exactly when the exponent is not
// negative; zero has no digits.
type decimal struct {
	negative bool
	digits   []byte
	exponent int
}

// maxDecimalBytes bounds the text of a number that is taken apart, and
// maxExponent the exponent; beyond them a number is neither an id nor a time.
const (
	maxDecimalBytes = 2 * MaxIDBytes
	maxExponent     = 4 * MaxIDBytes
)

// parseDecimal takes a number apart: an optional minus, digits, an optional
// fraction and an optional exponent. The digits are made in scratch. It is
// false for any other text, and for numbers beyond its bounds.
func parseDecimal(text, scratch []byte) (decimal, bool) {
	var d decimal
	if len(text) > maxDecimalBytes {
		return d, false
	}
	text, d.negative = bytes.CutPrefix(text, []byte{'-'})
	whole, text := leadingDigits(text)
	var fraction []byte
	if rest, ok := bytes.CutPrefix(text, []byte{'.'}); ok {
		if fraction, text = leadingDigits(rest); len(fraction) == 0 {
			return d, false
		}
	}
	if len(whole) == 0 {
		return d, false
	}
	if len(text) > 0 {
		if text[0] != 'e' && text[0] != 'E' {
			return d, false
		}
		exponent, ok := parseExponent(text[1:])
		if !ok {
			return d, false
		}
		d.exponent = exponent
	}
	d.digits = append(append(scratch[:0], whole...), fraction...)
	d.exponent -= len(fraction)
	for len(d.digits) > 0 && d.digits[len(d.digits)-1] == '0' {
		d.digits = d.digits[:len(d.digits)-1]
		d.exponent++
	}
	d.digits = bytes.TrimLeft(d.digits, "0")
	return d, true
}

func leadingDigits(text []byte) (digits, rest []byte) {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return text[:n], text[n:]
}

func parseExponent(text []byte) (int, bool) {
	negative := false
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		negative = text[0] == '-'
		text = text[1:]
	}
	digits, rest := leadingDigits(text)
	if len(digits) == 0 || len(rest) > 0 {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if n = 10*n + int(c-'0'); n > maxExponent {
			return 0, false
		}
	}
	if negative {
		n = -n
	}
	return n, true
}

// appendWhole appends a whole number as digits, "0" for both zeros; false when
// the number has a fraction or takes more than max bytes.
func (d decimal) appendWhole(dst []byte, max int) ([]byte, bool) {
	if len(d.digits) == 0 {
		return append(dst, '0'), true
	}
	if d.negative {
		dst = append(dst, '-')
		max--
	}
	if d.exponent < 0 || len(d.digits)+d.exponent > max {
		return dst, false
	}
	dst = append(dst, d.digits...)
	for range d.exponent {
		dst = append(dst, '0')
	}
	return dst, true
}

// scaled is the whole part of |d| × 10^shift; false when it takes more than 18
// digits.
func (d decimal) scaled(shift int) (int64, bool) {
	n := len(d.digits) + d.exponent + shift // digits of the whole part
	if len(d.digits) == 0 || n <= 0 {
		return 0, true
	}
	if n > 18 {
		return 0, false
	}
	var v int64
	for i := range n {
		v *= 10
		if i < len(d.digits) {
			v += int64(d.digits[i] - '0')
		}
	}
	return v, true
}

// numberID is the id that a JSON number stands for: its whole value as digits,
// so that 1, 1.0 and 10e-1 are all "1"; false for a fraction and for what takes
// more than max bytes.
func numberID(text []byte, max int) (string, bool) {
	digits, rest := leadingDigits(text)
	if len(rest) == 0 && 0 < len(digits) && len(digits) <= max && digits[0] != '0' {
		return string(digits), true // what nearly all are, kept as written
	}
	var scratch, id [maxDecimalBytes]byte
	d, ok := parseDecimal(text, scratch[:])
	if !ok {
		return "", false
	}
	whole, ok := d.appendWhole(id[:0], max)
	if !ok {
		return "", false
	}
	return string(whole), true
}

// A fieldReader makes Go values of JSON values. It remembers the memory that
// it needs to take escapes out of strings. The names of fields that it is
// given are for its errors; "null" is not for it to read.
type fieldReader struct{ scratch []byte }

// unquote is the text of a JSON string: part of v where it has no escapes,
// else good until the next call. It is false for an escape that is half a
// surrogate pair; whether other bytes are UTF-8 is not checked.
func (r *fieldReader) unquote(v jsontext.Value) ([]byte, bool) {
	inner := v[1 : len(v)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var err error
	r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], v)
	return r.scratch, err == nil
}

// text reads a JSON string that is plain text of at most max bytes.
func (r *fieldReader) text(v jsontext.Value, max int) (string, bool) {
	if v[0] != '"' || len(v) > len(`\u0000`)*max+2 {
		return "", false
	}
	if inner := v[1 : len(v)-1]; len(inner) <= max && isPlainASCII(inner) {
		return string(inner), true // what nearly all are
	}
	text, ok := r.unquote(v)
	if !ok || len(text) > max {
		return "", false
	}
	s := string(text)
	return s, isPlainText(s)
}

// label reads a JSON string or whole number as text of 1 to max bytes.
func (r *fieldReader) label(v jsontext.Value, max int) (string, bool) {
	if isNumber(v) {
		return numberID(v, max)
	}
	s, ok := r.text(v, max)
	return s, ok && s != ""
}

func isNumber(v jsontext.Value) bool { return v[0] == '-' || '0' <= v[0] && v[0] <= '9' }

func (r *fieldReader) id(field string, v jsontext.Value) (string, *FieldError) {
	id, ok := r.label(v, MaxIDBytes)
	if !ok {
		return "", unexpected(field, expectedID, v)
	}
	return id, nil
}

// optionalID reads an id that may be missing: "" is none.
func (r *fieldReader) optionalID(field string, v jsontext.Value) (string, *FieldError) {
	if string(v) == `""` {
		return "", nil
	}
	return r.id(field, v)
}

// title reads text that may be empty.
func (r *fieldReader) title(field string, v jsontext.Value, max int) (string, *FieldError) {
	s, ok := r.text(v, max)
	if !ok {
		return "", unexpected(field, fmt.Sprintf(expectedText, max), v)
	}
	return s, nil
}

// labels reads an array of labels. A label that comes again is left out.
func (r *fieldReader) labels(field string, v jsontext.Value) ([]string, *FieldError) {
	d := jsontext.NewDecoder(bytes.NewBuffer(v), lenient)
	if kind, err := d.ReadToken(); err != nil || kind.Kind() != jsontext.KindBeginArray {
		return nil, unexpected(field, expectedLabels, v)
	}
	var list []string
	for n := 0; d.PeekKind() != jsontext.KindEndArray; n++ {
		if n == MaxListed {
			return nil, unexpected(field, expectedLabels, v)
		}
		element, err := d.ReadValue()
		if err != nil {
			return nil, syntaxError(syntaxReason(err), v)
		}
		label, ok := r.label(element, MaxLabelBytes)
		if !ok {
			return nil, unexpected(fmt.Sprintf("%s[%d]", field, n), expectedLabel, element)
		}
		if !slices.Contains(list, label) {
			list = append(list, label)
		}
	}
	return list, nil
}

// time reads a timestamp from a JSON string or number.
func (r *fieldReader) time(field string, v jsontext.Value) (Time, *FieldError) {
	text, ok := []byte(v), isNumber(v)
	if v[0] == '"' && len(v) <= len(`\u0000`)*maxTimestampBytes {
		text, ok = r.unquote(v)
	}
	t, isTime := parseTime(text)
	if !ok || !isTime {
		return 0, unexpected(field, expectedTime, v)
	}
	return t, nil
}

// number reads a JSON number that a double can hold.
func (r *fieldReader) number(field string, v jsontext.Value) (float64, *FieldError) {
	if isNumber(v) {
		if x, err := strconv.ParseFloat(string(v), 64); err == nil {
			return x, nil
		}
	}
	return 0, unexpected(field, expectedValue, v)
}

// whole reads a whole JSON number from 0 to max.
func (r *fieldReader) whole(field string, v jsontext.Value, max int) (int, *FieldError) {
	if isNumber(v) {
		if digits, ok := numberID(v, len(strconv.Itoa(max))); ok {
			if n, err := strconv.Atoi(digits); err == nil && 0 <= n && n <= max {
				return n, nil
			}
		}
	}
	return 0, unexpected(field, fmt.Sprintf(expectedWhole, max), v)
}

// boolean reads true or false.
func (r *fieldReader) boolean(field string, v jsontext.Value) (bool, *FieldError) {
	if v[0] != 't' && v[0] != 'f' {
		return false, unexpected(field, "true or false", v)
	}
	return v[0] == 't', nil
}

// metadata reads a JSON object into a slice of its own, without white space
// between its parts and otherwise as it was sent.
func (r *fieldReader) metadata(field string, v jsontext.Value, max int) ([]byte, *FieldError) {
	compact, err := r.compactObject(field, v, max)
	if err != nil {
		return nil, err
	}
	return slices.Clone(compact), nil
}

// compactObject checks that v is a JSON object of at most max bytes when
// compact, with valid UTF-8 and without repeated names at any depth. What it
// returns is the object, compact, good until the next call.
func (r *fieldReader) compactObject(field string, v jsontext.Value, max int) ([]byte, *FieldError) {
	refuse := func(found []byte) *FieldError {
		return unexpected(field, fmt.Sprintf(expectedMetadata, max), found)
	}
	if len(v) == 0 || v[0] != '{' {
		return nil, refuse(v)
	}
	var err error
	r.scratch, err = jsontext.AppendFormat(r.scratch[:0], v,
		jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false), jsontext.PreserveRawStrings(true))
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return nil, refuse(slices.Concat([]byte("a repeated name in "), v))
	case err != nil || len(r.scratch) > max:
		return nil, refuse(v)
	}
	return r.scratch, nil
}
