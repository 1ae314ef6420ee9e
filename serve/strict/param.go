// Package strict reads requests strictly: what a route does not know, or knows
// otherwise, is refused with a word about what was expected. It completes huma,
// which reads parameters by their types, where huma would be lenient, and words
// what huma finds: importing it sets the variables through which huma makes its
// errors, as huma has it.
package strict

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"millrace/event"
	"millrace/serve/problem"
)

// ExpectedID is what an id has to be.
const ExpectedID = "1 to 256 bytes of UTF-8 without control characters"

// CheckID says what is wrong with an id that came as text; the rules are those
// of every id.
func CheckID(field, id string) error {
	if event.ValidateUser(&event.User{ID: id}) != nil {
		return problem.BadField(field, ExpectedID, id)
	}
	return nil
}

// CheckOptional is CheckID for a text that may be missing.
func CheckOptional(field, text string) error {
	if text == "" {
		return nil
	}
	return CheckID(field, text)
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
