package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"millrace/state"
)

// Compact implements state.Backend. Tables are merged down to the lowest
// level, where deletions are carried out. The database is then opened anew,
// which waits until the old tables are removed, and its manifest is replaced:
// a manifest names the first and last key of every table that it has seen.
func (b *Backend) Compact() error {
	first, last := []byte{0}, []byte{0xff} // names of stages are UTF-8
	err := b.use(func(db *pebble.DB) error {
		return db.Compact(context.Background(), first, last, false)
	})
	if err == nil {
		err = b.reopen()
	}
	if err != nil {
		return fmt.Errorf("compact state: %w", err)
	}
	return nil
}

// reopen closes and opens the database, without letting go of the directory.
// If it fails the backend is closed.
func (b *Backend) reopen() error {
	b.commit.Lock()
	defer b.commit.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.db == nil {
		return state.ErrClosed
	}
	err := b.db.Close()
	b.db = nil
	if err == nil {
		err = b.openDatabase()
	}
	if b.db == nil {
		return errors.Join(err, b.lock.Close())
	}
	return b.renewManifest()
}

// renewManifest makes Pebble begin a new manifest, which it does at the first
// change of a database that was just opened, and removes the older ones. The
// change is to write the record of the latest checkpoint as it is.
func (b *Backend) renewManifest() error {
	c, err := readLatest(b.db)
	if errors.Is(err, state.ErrNone) {
		return nil // nothing was ever stored
	}
	if err != nil {
		return err
	}
	err = b.ingest(b.db, func(w *tables) error { return w.set(latestKey, appendLatest(nil, c)) })
	if err != nil {
		return damage(err)
	}
	d, err := pebble.Peek(b.dir, b.fs)
	if err != nil {
		return damage(err)
	}
	names, err := b.fs.List(b.dir)
	if err != nil {
		return err
	}
	current, err := manifestNumber(b.fs.PathBase(d.ManifestFilename))
	if err != nil {
		return err
	}
	for _, name := range names {
		// A higher number is a newer manifest, made by a compaction just now.
		if n, err := manifestNumber(name); err != nil || n >= current {
			continue
		}
		err := b.fs.Remove(b.fs.PathJoin(b.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // Pebble removes older ones itself
			return err
		}
	}
	return nil
}

// manifestNumber is the number in the name of a manifest.
func manifestNumber(name string) (uint64, error) {
	digits, ok := strings.CutPrefix(name, "MANIFEST-")
	if !ok {
		return 0, fmt.Errorf("%q is not the name of a manifest", name)
	}
	return strconv.ParseUint(digits, 10, 64)
}
