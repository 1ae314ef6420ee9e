package clean

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// The names of the stage and of its ports.
const (
	StageName      = "clean"
	PortEvents     = "events"     // event.Enriched: everything that is not a repeat
	PortDuplicates = "duplicates" // Duplicate: every repeat
)

// stateVersion is the version of the state's format.
const stateVersion = 1

// pruneEvery is the grid of the timers that drop ids: coarse, so that a user
// costs at most one timer an hour.
const pruneEvery = event.Hour

// ErrOptions is the error of options that cannot be used.
var ErrOptions = errors.New("clean: invalid options")

// Options of the stage.
type Options struct {
	// Remember is how long an event id is remembered, in milliseconds of
	// stream time.
	Remember event.Duration `json:"remember_ms"`
}

// Defaults remembers ids for 24 hours.
func Defaults() Options { return Options{Remember: event.Day} }

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	if o.Remember < event.Millisecond || o.Remember > 366*event.Day {
		return fmt.Errorf("%w: remember_ms is %d, expected 1 to %d", ErrOptions, o.Remember, 366*event.Day)
	}
	return nil
}

// Duplicate is an event that was ignored because its user had sent one with
// the same id before.
type Duplicate struct {
	User string `json:"user_id"`
	ID   string `json:"event_id"`
	Row  int    `json:"row"` // its position in its block, for the answer to the client
}

// Add adds the stage to the events of a source.
func Add(in operator.Stream[event.Enriched], o Options) operator.Handle {
	var reader event.EnrichedReader
	return operator.Add(in, operator.Stage[string, state, event.Enriched]{
		Name:    StageName,
		Subject: operator.SubjectUser,
		Version: stateVersion,
		Key:     func(e *event.Enriched) string { return e.User },
		Codec:   &codec.Codec[event.Enriched]{Append: func(dst []byte, e *event.Enriched) []byte { return e.AppendRecord(dst) }, Load: reader.Read},
		New: func(p *operator.Ports) operator.Operator[string, state, event.Enriched] {
			return &clean{
				options:    o,
				events:     operator.Out[event.Enriched](p, PortEvents),
				duplicates: operator.Out[Duplicate](p, PortDuplicates),
			}
		},
	})
}

// clean is the stage's operator.
type clean struct {
	options    Options
	events     *operator.Output[event.Enriched]
	duplicates *operator.Output[Duplicate]
	id         []byte // scratch
}

// Fold passes an event on, or reports it as a repeat.
func (o *clean) Fold(c *operator.Context, _ string, s *state, e *event.Enriched) {
	if e.ID == "" {
		c.Unchanged()
		o.events.Emit(e.Time, *e)
		return
	}
	until := c.Effective() + o.options.Remember
	if s.remember(o.digest(e.ID), c.Watermark, until) {
		if len(s.ids) == 1 {
			c.SetTimer(pruneTime(until))
		}
		o.events.Emit(e.Time, *e)
		return
	}
	c.Unchanged()
	o.duplicates.Emit(e.Time, Duplicate{User: e.User, ID: e.ID, Row: e.Row})
}

// digest is the first 128 bits of the SHA-256 of an event id.
func (o *clean) digest(id string) digest {
	o.id = append(o.id[:0], id...)
	sum := sha256.Sum256(o.id)
	return digest{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

// Timer drops the ids that have run out.
func (o *clean) Timer(c *operator.Context, _ string, s *state, at event.Time) {
	next, left := s.prune(at)
	if !left {
		c.Forget()
		return
	}
	c.SetTimer(pruneTime(next))
}

// pruneTime is when ids that run out at a moment are dropped: the next full
// hour. A user who holds ids has one timer, set for the first of them.
func pruneTime(until event.Time) event.Time {
	return event.WindowStart(until+pruneEvery-1, pruneEvery)
}

// Append writes the ids in the order in which they were accepted.
func (o *clean) Append(dst []byte, s *state) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(s.ids)))
	last := event.Time(0)
	for _, id := range s.ids {
		dst = wire.AppendUint64(dst, id.digest[0])
		dst = wire.AppendUint64(dst, id.digest[1])
		dst = wire.AppendVarint(dst, int64(id.until-last))
		last = id.until
	}
	return dst
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *clean) Load(version uint8, src []byte, s *state) error {
	if version != stateVersion {
		return fmt.Errorf("state version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	n := r.Count()
	last := event.Time(0)
	for range n {
		d := digest{r.Uint64(), r.Uint64()}
		last += event.Time(r.Varint())
		if r.Err() != nil {
			break
		}
		s.ids = append(s.ids, id{d, last})
	}
	s.reindex()
	return r.End()
}
