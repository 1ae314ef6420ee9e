package strict

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"millrace/serve/problem"
)

// huma asks these package variables for every error that it finds itself: a
// parameter of a wrong type or out of its bounds.
func init() {
	huma.DefaultArrayNullable = false // lists are empty, never null
	huma.NewError = func(status int, text string, errs ...error) huma.StatusError {
		return fromHuma(nil, status, text, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, text string, errs ...error) huma.StatusError {
		var params []*huma.Param
		if ctx != nil {
			params = ctx.Operation().Parameters
		}
		return fromHuma(params, status, text, errs)
	}
}

func fromHuma(params []*huma.Param, status int, text string, errs []error) *problem.Problem {
	var fields []problem.Field
	for _, err := range errs {
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			fields = append(fields, fromDetail(params, d))
		}
	}
	if len(fields) > 0 {
		return problem.BadFields(fields...)
	}
	if status == 0 { // huma wants to know the type
		return problem.New(http.StatusInternalServerError, "")
	}
	return problem.New(status, "%s", text)
}

// fromDetail words what huma found about a parameter as everything else here.
func fromDetail(params []*huma.Param, d *huma.ErrorDetail) problem.Field {
	f := problem.Field{Field: d.Location, Expected: d.Message, Got: problem.Excerpt(fmt.Sprint(d.Value))}
	in, name, ok := strings.Cut(d.Location, ".")
	if !ok {
		return f
	}
	f.Field = name
	for _, p := range params {
		if p.In == in && p.Name == name {
			f.Expected = expectation(p.Schema)
		}
	}
	return f
}

// expectation says in words what values a schema allows.
func expectation(s *huma.Schema) string {
	switch {
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		return "one of " + strings.Join(words, ", ")
	case s.Type == huma.TypeInteger && s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("a whole number from %.0f to %.0f", *s.Minimum, *s.Maximum)
	case s.Type == huma.TypeInteger:
		return "a whole number from 0"
	case s.Type == huma.TypeBoolean:
		return "true or false"
	case s.MaxLength != nil:
		return fmt.Sprintf("a text of at most %d characters", *s.MaxLength)
	case s.Type == huma.TypeString:
		return "a text that is not empty"
	}
	return "a " + s.Type
}
