package pebble

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"millrace/state"
)

// Snapshot puts the latest checkpoint into a directory of its own, which must
// not be there yet but whose parent must, and returns that checkpoint without
// its tables; state.ErrNone if there is none. Opened, the directory has the same
// Latest, Load and Get. Tables are hard links where both are on one file
// system, so it takes milliseconds, during which commits wait, and no room
// until the tables are replaced here. Everything is synced when it returns.
func (b *Backend) Snapshot(dir string) (*state.Checkpoint, error) {
	b.commit.Lock() // so that nothing is committed between the record and the tables
	defer b.commit.Unlock()
	var latest *state.Checkpoint
	err := b.use(func(db *pebble.DB) (err error) {
		if latest, err = readLatest(db); err != nil {
			return err
		}
		return db.Checkpoint(dir)
	})
	if err != nil {
		return nil, fmt.Errorf("snapshot of state: %w", err)
	}
	return latest, nil
}
