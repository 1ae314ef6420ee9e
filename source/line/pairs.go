package line

import (
	"bytes"
	"net/url"

	"millrace/event"
	"millrace/source/format"
)

// pairs are fields and their texts, in memory that is used again.
type pairs struct {
	fields []format.Field
	texts  [][]byte
}

func (p *pairs) clear() { p.fields, p.texts = p.fields[:0], p.texts[:0] }

func (p *pairs) add(f format.Field, text []byte) {
	p.fields, p.texts = append(p.fields, f), append(p.texts, text)
}

const expectedPairs = `pairs such as user=ann item="red shoe", with backslashes before quotes in quotes`

// parsePairs reads key=value pairs with white space between them. Words without
// an equals sign, such as what a logger writes first, are passed over.
func (p *Parser) parsePairs(line []byte, now event.Time, into *event.Event) *event.FieldError {
	p.pairs.clear()
	for rest := bytes.TrimSpace(line); len(rest) > 0; rest = bytes.TrimLeft(rest, " \t") {
		end := bytes.IndexAny(rest, "= \t")
		if end < 0 || rest[end] != '=' {
			if end < 0 {
				break
			}
			rest = rest[end:]
			continue
		}
		name := rest[:end]
		text, after, ok := pairText(rest[end+1:])
		if !ok {
			return event.Unexpected(string(name[:min(len(name), 80)]), expectedPairs, rest)
		}
		rest = after
		f, known := p.field(name)
		if !known {
			return event.Unexpected(string(name[:min(len(name), 80)]), "a known field", text)
		}
		p.pairs.add(f, text)
	}
	return p.texts.Event(p.pairs.fields, p.pairs.texts, now, into)
}

// pairText is the text after an equals sign, and what follows it.
func pairText(rest []byte) (text, after []byte, ok bool) {
	if len(rest) == 0 || rest[0] != '"' {
		end := bytes.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		return rest[:end], rest[end:], true
	}
	plain := true
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			plain = false
			i++
		case '"':
			if plain {
				return rest[1:i], rest[i+1:], true
			}
			return unescape(rest[1:i]), rest[i+1:], true
		}
	}
	return nil, nil, false
}

// unescape takes the backslashes out of text in quotes.
func unescape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
			switch text[i] {
			case 'n':
				out = append(out, '\n')
				continue
			case 't':
				out = append(out, '\t')
				continue
			}
		}
		out = append(out, text[i])
	}
	return out
}

// The fields of an access log: what stands before the request, and after it.
// Those of the query are called arg_NAME.
var accessNames = []string{"remote_addr", "remote_user", "time_local", "status", "body_bytes_sent", "http_referer", "http_user_agent"}

// accessTime is how access logs write the time.
const accessTime = "02/Jan/2006:15:04:05 -0700"

// accessLine are the parts of a line of an access log.
type accessLine struct {
	address, user, time, request, status, bytes, referer, agent []byte
}

const expectedAccess = `a line such as 127.0.0.1 - ann [10/Oct/2026:13:55:36 +0000] "GET /products/7 HTTP/1.1" 200 2326 "REFERER" "AGENT"`

// splitAccess takes a line of the common or combined format apart.
func splitAccess(line []byte) (a accessLine, ok bool) {
	rest := line
	word := func() (text []byte) {
		text, rest, _ = bytes.Cut(rest, []byte{' '})
		return text
	}
	quoted := func() ([]byte, bool) {
		rest = bytes.TrimLeft(rest, " ")
		if len(rest) == 0 || rest[0] != '"' {
			return nil, false
		}
		text, after, ok := pairText(rest)
		rest = after
		return text, ok
	}
	a.address = word()
	word() // the identity that nobody has
	// The name of a user may have spaces in it.
	begin := bytes.Index(rest, []byte(" ["))
	if begin < 0 {
		return a, false
	}
	a.user = rest[:begin]
	rest = rest[begin+2:]
	end := bytes.IndexByte(rest, ']')
	if end < 0 {
		return a, false
	}
	a.time, rest = rest[:end], rest[end+1:]
	if a.request, ok = quoted(); !ok {
		return a, false
	}
	rest = bytes.TrimLeft(rest, " ")
	a.status, a.bytes = word(), word()
	if len(a.status) != 3 {
		return a, false
	}
	if len(rest) > 0 { // the combined format; what a server adds after it is its own
		a.referer, _ = quoted()
		a.agent, _ = quoted()
	}
	return a, true
}

// parseAccess reads a line of an access log. What no rule is for is ignored.
func (p *Parser) parseAccess(line []byte, now event.Time, into *event.Event) (Verdict, *event.FieldError) {
	a, ok := splitAccess(line)
	if !ok {
		return Bad, event.Unexpected("", expectedAccess, line)
	}
	method, target, _ := bytes.Cut(a.request, []byte{' '})
	target, _, _ = bytes.Cut(target, []byte{' '})
	path, query, _ := bytes.Cut(target, []byte{'?'})
	for _, r := range p.requests {
		if !r.takes(method, a.status) {
			continue
		}
		groups := r.path.FindSubmatch(path)
		if groups == nil {
			continue
		}
		p.pairs.clear()
		if r.kind != "" {
			p.pairs.add(format.EventType(r.kind), nil)
		}
		for i, text := range groups[1:] {
			p.pairs.add(r.fields[i+1], decoded(text, url.PathUnescape))
		}
		p.arguments(query)
		for i, text := range [][]byte{a.address, a.user, a.time, a.status, a.bytes, a.referer, a.agent} {
			p.pairs.add(p.fields[i], text)
		}
		return Event, p.texts.Event(p.pairs.fields, p.pairs.texts, now, into)
	}
	return Ignored, nil
}

// arguments adds those of a query.
func (p *Parser) arguments(query []byte) {
	for pair := range bytes.SplitSeq(query, []byte{'&'}) {
		name, text, _ := bytes.Cut(pair, []byte{'='})
		if len(name) == 0 || len(name) > maxArgument {
			continue
		}
		if f, known := p.field(append([]byte("arg_"), decoded(name, url.QueryUnescape)...)); known {
			p.pairs.add(f, decoded(text, url.QueryUnescape))
		}
	}
}

// maxArgument bounds the name of an argument that is looked at.
const maxArgument = 100

// decoded is text without percent signs, as it is if it has some that are
// wrong.
func decoded(text []byte, by func(string) (string, error)) []byte {
	if bytes.IndexByte(text, '%') < 0 && bytes.IndexByte(text, '+') < 0 {
		return text
	}
	if plain, err := by(string(text)); err == nil {
		return []byte(plain)
	}
	return text
}
