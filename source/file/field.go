package file

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode"

	"millrace/event"
)

// maxGot is how much of a bad field an error shows, in bytes.
const maxGot = 80

// got is what was found, fit to be shown.
func got(found []byte) string {
	if len(found) == 0 {
		return "nothing"
	}
	shown := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, string(found[:min(len(found), maxGot)]))
	if len(found) > maxGot {
		shown += "…"
	}
	return shown
}

func fault(field, expected string, found []byte) *event.FieldError {
	return &event.FieldError{Field: field, Expected: expected, Got: got(found)}
}

// names makes strings of ids, one for all the times that an id occurs while it
// is remembered. The memory is bounded: when it is full it begins anew.
type names struct {
	known map[string]string
	last  string
}

// maxNames bounds the ids that are remembered.
const maxNames = 1 << 20

func newNames() names { return names{known: map[string]string{}} }

func (n *names) of(b []byte) string {
	if string(b) == n.last {
		return n.last
	}
	s, ok := n.known[string(b)]
	if !ok {
		s = string(b)
		if len(b) > event.MaxIDBytes {
			return s // not an id
		}
		if len(n.known) == maxNames {
			clear(n.known)
		}
		n.known[s] = s
	}
	n.last = s
	return s
}

// tens are the powers of ten that a double holds exactly.
var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// number reads a finite decimal number. Up to 15 digits without an exponent
// are read at once: both the digits and the power of ten are exact, so their
// quotient is rounded correctly (Clinger 1990). The rest is strconv's.
func number(text []byte) (float64, bool) {
	digits, mantissa, point := 0, int64(0), -1
	for i, c := range text {
		switch {
		case '0' <= c && c <= '9':
			mantissa = 10*mantissa + int64(c-'0')
			digits++
		case c == '.' && point < 0:
			point = i
		default:
			return anyNumber(text)
		}
		if digits > 15 {
			return anyNumber(text)
		}
	}
	switch {
	case digits == 0:
		return 0, false
	case point < 0:
		return float64(mantissa), true
	}
	return float64(mantissa) / tens[len(text)-point-1], true
}

func anyNumber(text []byte) (float64, bool) {
	// Neither names of numbers nor hexadecimal: "inf", "nan", "0x1p2".
	for _, c := range text {
		if (c < '0' || c > '9') && bytes.IndexByte([]byte("+-.eE"), c) < 0 {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(string(text), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

const expectedAge = "a whole number of years"

// whole reads a number of up to three digits.
func whole(text []byte) (int, bool) {
	n, err := strconv.ParseUint(string(text), 10, 10)
	return int(n), err == nil
}

// list splits a field of values separated by bars and leaves out the empty.
func list(values []byte) []string {
	var list []string
	for part := range bytes.SplitSeq(values, []byte{'|'}) {
		if part = bytes.TrimSpace(part); len(part) > 0 {
			list = append(list, text(part))
		}
	}
	return list
}
