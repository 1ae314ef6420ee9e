package format

import (
	"context"

	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/source"
)

// NewJSON makes the Decoder of values that are JSON.
func NewJSON(m Mapping, types *event.Types) Decoder {
	return &jsonDecoder{options: m.Options(types), recordTime: m.RecordTime}
}

// jsonDecoder reads values as event.ParseEvent does.
type jsonDecoder struct {
	options    event.Options
	recordTime bool
}

// Decode implements Decoder.
func (d *jsonDecoder) Decode(_ context.Context, r *Record, now event.Time, into *event.Event) (*source.Bad, error) {
	options := d.options
	options.Now = now
	if d.recordTime {
		mapping := *options.Mapping
		mapping.Time, options.Mapping = r.Time, &mapping
	}
	e, fault := event.ParseEvent(withoutHeader(r.Value), options)
	if fault != nil {
		return refused(fault)
	}
	*into = e
	return nil, nil
}

// withoutHeader takes off the header that the serializers of a schema registry
// put before JSON too: no JSON begins with a zero byte. The schema is of no use,
// as JSON says what its fields are called.
func withoutHeader(value []byte) []byte {
	if _, rest, err := schemaregistry.ReadHeader(value); err == nil {
		return rest
	}
	return value
}
