package format

import (
	"context"

	"millrace/event"
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
	e, fault := event.ParseEvent(r.Value, options)
	if fault != nil {
		return &source.Bad{Err: fault}, nil
	}
	*into = e
	return nil, nil
}
