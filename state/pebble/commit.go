package pebble

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/operator"
	"millrace/state"
)

// Commit implements state.Backend. Commits are made one at a time.
func (b *Backend) Commit(c *state.Checkpoint) (int64, error) {
	b.commit.Lock()
	defer b.commit.Unlock()
	if err := c.Follows(b.latest); err != nil {
		return 0, err
	}
	err := b.use(func(db *pebble.DB) error {
		return b.ingest(db, func(w *tables) error {
			if err := w.set(latestKey, appendLatest(nil, c)); err != nil {
				return err
			}
			for _, stage := range byStage(c.Tables) {
				if err := w.merge(stage); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return 0, fmt.Errorf("commit checkpoint of block %d: %w", c.Block, err)
	}
	b.latest = &state.Checkpoint{Block: c.Block}
	return c.Bytes(), nil
}

// Drop implements state.Backend.
func (b *Backend) Drop(stage string) error {
	b.commit.Lock()
	defer b.commit.Unlock()
	if err := state.CheckStage(stage); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	from, to := stageBounds(stage)
	err := b.use(func(db *pebble.DB) error {
		if empty, err := isEmpty(db, from, to); empty || err != nil {
			return err
		}
		return b.ingest(db, func(w *tables) error { return w.deleteRange(from, to) })
	})
	if err != nil {
		return fmt.Errorf("drop stage %s: %w", stage, err)
	}
	return nil
}

func isEmpty(db *pebble.DB, from, to []byte) (bool, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return false, err
	}
	found := it.First()
	return !found, errors.Join(it.Error(), it.Close())
}

// ingest writes tables with fn and takes all of them into the database in one
// atomic and durable step. If that fails the database is as it was.
func (b *Backend) ingest(db *pebble.DB, fn func(*tables) error) error {
	if b.opts.ReadOnly {
		return pebble.ErrReadOnly
	}
	w := &tables{backend: b, db: db}
	err := fn(w)
	err = errors.Join(err, w.close(), b.room())
	if err == nil {
		err = db.Ingest(context.Background(), w.paths)
	}
	if err != nil {
		// What cannot be removed now is removed when the backend is opened.
		for _, path := range w.paths {
			_ = b.fs.Remove(path)
		}
	}
	return err
}

// manifestBytes is what a change of the database may have to write besides
// tables, and more.
const manifestBytes = 4 << 20

// room is an error when the disk is so full that the manifest might not fit on
// it: Pebble does not survive that, whereas without the change it goes on.
func (b *Backend) room() error {
	usage, err := b.fs.GetDiskUsage(b.dir)
	if err == nil && usage.AvailBytes < manifestBytes {
		err = fmt.Errorf("%w: %d KiB are free, a change needs %d", syscall.ENOSPC, usage.AvailBytes>>10, manifestBytes>>10)
	}
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil // where it is not known it is tried
	}
	return err
}

// byStage groups the tables of each stage, in the order of the stages' keys.
func byStage(all []state.Table) [][]state.Table {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(x, y state.Table) int { return cmp.Compare(x.Stage, y.Stage) })
	var groups [][]state.Table
	for from := 0; from < len(sorted); {
		to := from + 1
		for to < len(sorted) && sorted[to].Stage == sorted[from].Stage {
			to++
		}
		groups = append(groups, sorted[from:to])
		from = to
	}
	return groups
}

// ordered is a write with what is needed to sort it without following
// pointers: the first eight bytes of its key and its place among the writes.
type ordered struct {
	prefix uint64
	place  int
	write  *operator.StateWrite
}

// sortWrites returns the writes of one stage in the order of their keys, one
// a key: the last.
func sortWrites(stage []state.Table) []ordered {
	n := 0
	for _, t := range stage {
		n += len(t.Writes)
	}
	all := make([]ordered, 0, n)
	for _, t := range stage {
		for i := range t.Writes {
			w := &t.Writes[i]
			var first [8]byte
			copy(first[:], w.Key)
			all = append(all, ordered{binary.BigEndian.Uint64(first[:]), len(all), w})
		}
	}
	slices.SortFunc(all, func(x, y ordered) int {
		if c := cmp.Compare(x.prefix, y.prefix); c != 0 {
			return c
		}
		if c := bytes.Compare(x.write.Key, y.write.Key); c != 0 {
			return c
		}
		return cmp.Compare(y.place, x.place) // the last one first, to be kept
	})
	return slices.CompactFunc(all, func(x, y ordered) bool {
		return x.prefix == y.prefix && bytes.Equal(x.write.Key, y.write.Key)
	})
}
