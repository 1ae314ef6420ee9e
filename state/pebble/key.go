package pebble

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"millrace/event"
	"millrace/event/wire"
	"millrace/state"
)

// A key of the database is the name of the stage, a zero byte, and the key of
// the state. No stage has an empty name, so what begins with a zero byte is
// our own: the record of the latest checkpoint.
var (
	latestKey  = []byte("\x00checkpoint")
	firstStage = []byte{1}
	separator  = []byte{0}
)

// latestVersion is the format of the checkpoint record and of the keys.
const latestVersion = 1

func appendKey(dst []byte, stage string, key []byte) []byte {
	dst = append(dst, stage...)
	dst = append(dst, 0)
	return append(dst, key...)
}

// stageBounds are the first key that a stage can have and the first that is
// past its keys.
func stageBounds(stage string) (from, to []byte) {
	return []byte(stage + "\x00"), []byte(stage + "\x01")
}

// appendLatest encodes a checkpoint without its tables:
//
//	version byte, block uvarint, time varint, meta with its length
func appendLatest(dst []byte, c *state.Checkpoint) []byte {
	dst = append(dst, latestVersion)
	dst = wire.AppendUvarint(dst, c.Block)
	dst = wire.AppendVarint(dst, int64(c.Time))
	return wire.AppendBytes(dst, c.Meta)
}

func parseLatest(b []byte) (*state.Checkpoint, error) {
	if len(b) > 0 && b[0] > latestVersion {
		return nil, fmt.Errorf("checkpoint format %d: %w", b[0], state.ErrNewer)
	}
	r := wire.NewReader(b)
	version := r.Byte()
	c := &state.Checkpoint{Block: r.Uvarint(), Time: event.Time(r.Varint()), Meta: r.Bytes()}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("checkpoint record: %w: %w", state.ErrCorrupt, err)
	}
	if version != latestVersion {
		return nil, fmt.Errorf("checkpoint record: %w: format %d", state.ErrCorrupt, version)
	}
	c.Meta = append([]byte(nil), c.Meta...)
	return c, nil
}

// readLatest reads the record of the latest checkpoint, state.ErrNone if
// there is none.
func readLatest(db *pebble.DB) (*state.Checkpoint, error) {
	value, closer, err := db.Get(latestKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, state.ErrNone
	}
	if err != nil {
		return nil, damage(err)
	}
	c, err := parseLatest(value)
	return c, errors.Join(err, closer.Close())
}
