package api

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"millrace/event"
	"millrace/serve/problem"
)

// expectedID is what an id has to be.
const expectedID = "1 to 256 bytes of UTF-8 without control characters"

// checkID says what is wrong with an id that came as text; the rules are those
// of every id.
func checkID(field, id string) error {
	if event.ValidateUser(&event.User{ID: id}) != nil {
		return problem.BadField(field, expectedID, id)
	}
	return nil
}

// checkOptional is checkID for a text that may be missing.
func checkOptional(field, text string) error {
	if text == "" {
		return nil
	}
	return checkID(field, text)
}

// Optional is a parameter that may be missing.
type Optional[T any] struct {
	Value T
	Set   bool
}

// Schema implements huma.SchemaProvider: that of the value.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeOf(o.Value))
}

// Receiver implements huma.ParamWrapper.
func (o *Optional[T]) Receiver() reflect.Value { return reflect.ValueOf(o).Elem().Field(0) }

// OnParamSet implements huma.ParamReactor.
func (o *Optional[T]) OnParamSet(set bool, _ any) { o.Set = set }

// HTTP gives a handler the request itself, for a body that it reads its own
// way.
type HTTP struct {
	request *http.Request
	writer  http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (h *HTTP) Resolve(ctx huma.Context) []error {
	h.request, h.writer = humago.Unwrap(ctx)
	return nil
}

// takeYourTime lifts the server's time limits for this request.
func (h *HTTP) takeYourTime() {
	c := http.NewResponseController(h.writer)
	// A writer without deadlines, as in tests, has none to lift.
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Time{})
}

// strictQuery refuses what huma would let pass: parameters that the operation
// does not have, that come twice, that have no value, or that are not
// properly escaped.
func strictQuery(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if r.URL.RawQuery != "" {
		if p := checkQuery(ctx.Operation().Parameters, r.URL.RawQuery); p != nil {
			p.Write(w)
			return
		}
	}
	next(ctx)
}

// checkQuery says what is wrong with a query, or nil.
func checkQuery(params []*huma.Param, query string) *problem.Problem {
	var fields []problem.Field
	var seen uint64 // a bit for each parameter; no operation has 64
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		at := indexOf(params, name)
		field := problem.Field{Field: problem.Excerpt(name), Got: problem.Excerpt(value)}
		switch {
		case err != nil:
			field.Expected, field.Got = "percent-encoded UTF-8", problem.Excerpt(part)
		case at < 0:
			field.Expected, field.Got = knownParams(params), field.Field
		case seen&(1<<at) != 0:
			field.Expected, field.Got = "the parameter once", "a second one: "+field.Got
		case value == "":
			field.Expected = expectation(params[at].Schema)
		default:
			seen |= 1 << at
			continue
		}
		if fields = append(fields, field); len(fields) == maxQueryErrors {
			break
		}
	}
	if fields == nil {
		return nil
	}
	return problem.BadFields(fields...)
}

// maxQueryErrors bounds the errors that are told of one query.
const maxQueryErrors = 20

func indexOf(params []*huma.Param, name string) int {
	for i, p := range params {
		if p.In == "query" && p.Name == name {
			return i
		}
	}
	return -1
}

func knownParams(params []*huma.Param) string {
	var names []string
	for _, p := range params {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	if names == nil {
		return "no parameter, as the route has none"
	}
	return "a known parameter: " + strings.Join(names, ", ")
}
