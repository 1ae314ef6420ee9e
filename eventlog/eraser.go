package eventlog

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"millrace/event"
	"millrace/event/wire"
)

// eraser takes one user out of payloads.
type eraser struct {
	user     string
	name     string            // its pseudonym
	ordinals map[string]string // of event_id, session_id and request_id
}

// erase rewrites the blocks up to the deletion. It returns the span of all
// blocks that this and interrupted earlier attempts, which found s, rewrote.
func (e *eraser) erase(l *Log, deletion uint64, s span) (span, error) {
	found, err := e.find(l, deletion-1)
	if err != nil {
		return s, err
	}
	s = s.join(found)
	if err := l.update(func(b *pebble.Batch) error { return markRedaction(b, deletion, s) }); err != nil {
		return s, err
	}
	if err := l.PurgeDeadLetters(e.user); err != nil {
		return s, err
	}
	if _, err := l.rewrite(func(b *Block) (bool, error) { return e.block(b, -1) }, found); err != nil {
		return s, err
	}
	_, err = l.rewrite(e.deletionBlock, span{deletion, deletion})
	return s, err
}

// find gives the ordinals by first occurrence in the blocks up to upTo, and
// the span of the blocks that name the user.
func (e *eraser) find(l *Log, upTo uint64) (found span, err error) {
	err = l.scan(l.start.Block+1, upTo, func(b *Block) error {
		if !e.mayName(b) {
			return nil
		}
		changed, err := e.block(b, -1)
		if changed {
			found = found.with(b.Number)
		}
		return err
	})
	return found, err
}

// mayName is false for a block that does not name the user. It spares decoding
// most blocks: the records hold ids as they are.
func (e *eraser) mayName(b *Block) bool {
	return b.Kind != Config && bytes.Contains(b.Payload, []byte(e.user))
}

// deletionBlock is block for the block with the deletion: after its deletion
// the id is that of a new user.
func (e *eraser) deletionBlock(b *Block) (bool, error) {
	last, at := -1, 0
	err := eachChange(b, func(c *event.Change, _ []byte) {
		if c.Kind == event.DeleteUser && c.User.ID == e.user {
			last = at
		}
		at++
	})
	if err != nil {
		return false, &CorruptError{Block: b.Number, Err: err}
	}
	if last < 0 {
		return false, nil
	}
	return e.block(b, last)
}

// block replaces the payload of a block that names the user. Of a catalogue
// block only the records up to number last are redacted, all if it is -1.
func (e *eraser) block(b *Block, last int) (changed bool, err error) {
	if !e.mayName(b) {
		return false, nil
	}
	out := make([]byte, 0, len(b.Payload))
	switch b.Kind {
	case Events:
		err = eachEvent(b, func(ev *event.Event, raw []byte) {
			if ev.User != e.user {
				out = append(out, raw...)
				return
			}
			changed = true
			e.event(ev)
			out = event.AppendEvent(out, ev)
		})
	case Catalogue:
		at := 0
		err = eachChange(b, func(c *event.Change, raw []byte) {
			if c.User == nil || c.User.ID != e.user || last >= 0 && at > last {
				out = append(out, raw...)
			} else {
				changed = true
				c.User = &event.User{ID: e.name, Age: c.User.Age, Gender: c.User.Gender}
				out = event.AppendChange(out, c)
			}
			at++
		})
	}
	if err != nil {
		return false, &CorruptError{Block: b.Number, Err: err}
	}
	if changed {
		b.Payload = out
	}
	return changed, nil
}

// event redacts an event of the user.
func (e *eraser) event(ev *event.Event) {
	ev.User = e.name
	ev.ID = e.ordinal(ev.ID)
	ev.Session = e.ordinal(ev.Session)
	ev.Request = e.ordinal(ev.Request)
	ev.Metadata = nil
}

// ordinal is the pseudonym of an id of the user's events, "" of "".
func (e *eraser) ordinal(id string) string {
	if id == "" {
		return ""
	}
	o, ok := e.ordinals[id]
	if !ok {
		o = e.name + ":" + strconv.Itoa(len(e.ordinals)+1)
		e.ordinals[id] = o
	}
	return o
}

// eachEvent calls fn with every event of a block and its stored bytes.
func eachEvent(b *Block, fn func(ev *event.Event, raw []byte)) error {
	var ev event.Event
	r := wire.NewReader(b.Payload)
	for r.Len() > 0 {
		start := len(b.Payload) - r.Len()
		event.ReadEvent(r, &ev, nil)
		if err := r.Err(); err != nil {
			return fmt.Errorf("event at byte %d: %w", start, err)
		}
		fn(&ev, b.Payload[start:len(b.Payload)-r.Len()])
	}
	return nil
}

// eachChange calls fn with every change of a block and its stored bytes.
func eachChange(b *Block, fn func(c *event.Change, raw []byte)) error {
	r := wire.NewReader(b.Payload)
	for r.Len() > 0 {
		start := len(b.Payload) - r.Len()
		c := event.ReadChange(r)
		if err := r.Err(); err != nil {
			return fmt.Errorf("change at byte %d: %w", start, err)
		}
		fn(&c, b.Payload[start:len(b.Payload)-r.Len()])
	}
	return nil
}
