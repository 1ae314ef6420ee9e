package strict

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"millrace/serve/problem"
)

// Query is a middleware of huma that refuses what huma would let pass: parameters that the operation
// does not have, that come twice, that have no value, or that are not
// properly escaped.
func Query(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if r.URL.RawQuery != "" {
		if p := checkQuery(ctx.Operation().Parameters, r.URL.RawQuery); p != nil {
			p.Write(w)
			return
		}
	}
	next(ctx)
}

// NoQuery is a handler for requests without parameters: those with one are
// refused.
func NoQuery(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := checkQuery(nil, r.URL.RawQuery); p != nil {
			p.Write(w)
			return
		}
		h.ServeHTTP(w, r)
	})
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
