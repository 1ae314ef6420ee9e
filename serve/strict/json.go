package strict

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"millrace/event"
	"millrace/serve/problem"
)

// ID is an id in a body: a JSON string, or a whole number, which is the same
// id as its digits.
type ID string

// UnmarshalJSONFrom reads an id by the rules of events.
func (id *ID) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	user, bad := event.ParseUser(slices.Concat([]byte(`{"user_id":`), v, []byte(`}`)), "")
	if bad != nil {
		return bad // says what an id is, and what this one was
	}
	*id = ID(user.ID)
	return nil
}

// Schema implements huma.SchemaProvider.
func (ID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf:       []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeInteger}},
		Description: "An id: " + ExpectedID + ", or a whole number, which is the same as its digits.",
	}
}

// IDs is a list of ids in a body, of at most MaxIDs: a longer one is not read
// to its end.
type IDs []ID

// MaxIDs is the length of the longest list of ids.
const MaxIDs = 1000

// errTooMany is the error of a list that is too long.
var errTooMany = errors.New("too many ids")

// UnmarshalJSONFrom reads a list, or null as none.
func (ids *IDs) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		v, err := d.ReadValue()
		if err == nil && v.Kind() != 'n' {
			err = &json.SemanticError{JSONKind: v.Kind(), GoType: reflect.TypeFor[IDs](), JSONPointer: d.StackPointer()}
		}
		return err
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	list := IDs{}
	for d.PeekKind() != ']' {
		if len(list) == MaxIDs {
			return errTooMany
		}
		var id ID
		if err := json.UnmarshalDecode(d, &id); err != nil {
			return err
		}
		list = append(list, id)
	}
	*ids = list
	_, err := d.ReadToken()
	return err
}

// Schema implements huma.SchemaProvider.
func (IDs) Schema(r huma.Registry) *huma.Schema {
	most := MaxIDs
	return &huma.Schema{Type: huma.TypeArray, Items: ID("").Schema(r), MaxItems: &most}
}

// Texts are the ids as text.
func (ids IDs) Texts() []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = string(id)
	}
	return list
}

// JSON reads a text that is one JSON object into the struct that to points to.
// Unknown and repeated members are refused. The error is a *problem.Problem.
func JSON(text []byte, to any) error {
	if err := json.Unmarshal(text, to, json.RejectUnknownMembers(true)); err != nil {
		return badJSON(err, reflect.TypeOf(to).Elem())
	}
	return nil
}

// badJSON says where a body is not what was expected.
func badJSON(err error, whole reflect.Type) error {
	if s, ok := errors.AsType[*json.SemanticError](err); ok {
		f := problem.Field{
			Field:    strings.ReplaceAll(strings.TrimPrefix(string(s.JSONPointer), "/"), "/", "."),
			Expected: described(s.GoType), Got: problem.Excerpt(string(s.JSONValue)),
		}
		if len(s.JSONValue) == 0 {
			f.Got = kindNames[s.JSONKind]
		}
		if bad, ok := errors.AsType[*event.FieldError](err); ok {
			f.Expected, f.Got = bad.Expected, bad.Got
		}
		if errors.Is(err, errTooMany) {
			f.Got = "more"
		}
		if errors.Is(err, json.ErrUnknownName) {
			f.Expected = "a known member: " + members(whole)
			f.Got = problem.Excerpt(s.JSONPointer.LastToken())
		}
		return problem.BadFields(f)
	}
	f := problem.Field{Expected: "valid JSON: " + described(whole), Got: "an early end"}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.Got = problem.Excerpt(fmt.Sprintf("%v at byte %d", s.Err, s.ByteOffset))
	}
	return problem.BadFields(f)
}

// kindNames name the kinds of JSON values.
var kindNames = map[jsontext.Kind]string{
	'n': "null", 't': "true", 'f': "false", '"': "a string", '0': "a number", '[': "a list", '{': "an object",
}

// described says in words what JSON a type is read from.
func described(t reflect.Type) string {
	if t == nil {
		return "another value"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "an object with " + members(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "a list of objects with " + members(t.Elem())
		}
		return fmt.Sprintf("a list of at most %d ids", MaxIDs)
	case reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	}
	return "a " + t.Kind().String()
}

// members lists the JSON names of a struct's fields.
func members(t reflect.Type) string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
