package cohort

import (
	"millrace/event"
	"millrace/operator/codec"
)

// tasteCodec is how tastes cross to another process.
func tasteCodec() *codec.Codec[taste] {
	text := codec.Interned[string]()
	c := codec.Struct(
		codec.Field(func(t *taste) *string { return &t.Cohort }, text),
		codec.Field(func(t *taste) *string { return &t.Category }, text),
		codec.Field(func(t *taste) *int64 { return &t.Amount.Epoch }, codec.Int64[int64]()),
		codec.Field(func(t *taste) *uint64 { return &t.Amount.Units }, codec.Uint64[uint64]()),
		codec.Field(func(t *taste) *int64 { return &t.Events }, codec.Int64[int64]()),
		codec.Field(func(t *taste) *event.Time { return &t.Due }, codec.Time()),
	)
	return &c
}
