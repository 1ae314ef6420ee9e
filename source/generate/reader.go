package generate

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/source"
)

// reader is a generator as a source: the catalogue, and then a number of
// events with the changes between them.
type reader struct {
	name      string
	shop      *Generator
	catalogue func() (event.Change, bool)
	stop      func()
	change    event.Change // what the last record points to
	left      uint64       // events still to come
	total     int64
	row       atomic.Uint64
}

// NewReader is the catalogue of a shop, its first events (as many as given)
// and the catalogue changes between them as a source.Reader that ends. Its
// progress is counted in events and catalogue records. The error wraps
// ErrConfig.
func NewReader(cfg Config, events uint64) (source.Reader, error) {
	shop, err := New(cfg)
	if err != nil {
		return nil, err
	}
	r := &reader{
		name:  fmt.Sprintf("generate-%d-%016x", cfg.Seed, xxhash.Sum64String(fmt.Sprintf("%+v %d", cfg, events))),
		shop:  shop,
		left:  events,
		total: int64(cfg.Items) + int64(cfg.Users) + int64(events),
	}
	r.catalogue, r.stop = iter.Pull(shop.Catalogue())
	return r, nil
}

// Name is of the configuration and the number of events.
func (r *reader) Name() string { return r.name }

// Next makes the next record.
func (r *reader) Next() (source.Record, error) {
	if change, ok := r.catalogue(); ok {
		r.change = change
		return source.Record{Change: &r.change, Row: r.row.Add(1)}, nil
	}
	if r.left == 0 {
		return source.Record{}, io.EOF
	}
	record := r.shop.Next()
	if record.Event != nil {
		r.left--
	}
	record.Row = r.row.Add(1)
	return record, nil
}

// Skip makes the records again and drops them.
func (r *reader) Skip(row uint64) error {
	for r.row.Load() < row {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	return nil
}

// Total is how many events and catalogue records there are.
func (r *reader) Total() int64 { return r.total }

// Done is how many of them have been made.
func (r *reader) Done() int64 { return min(r.total, int64(r.row.Load())) }

// Close ends the listing of the catalogue.
func (r *reader) Close() error {
	r.stop()
	return nil
}
