package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
	"millrace/state"
)

const (
	// incoming is the folder in which tables are written before they are
	// taken into the database.
	incoming = "incoming"
	// bytesPerSync is how much of a table is written before the operating
	// system is asked to start writing it to the disk, so that the sync at
	// its end is short and does not hold up the syncs of the event log.
	bytesPerSync = 512 << 10
	// writesPerTurn is how many keys are written before other goroutines have
	// their turn: a commit is tens of milliseconds of work that nobody waits
	// for, and on a few cores Go would let it run for ten of them in a row.
	writesPerTurn = 32
)

// tables writes keys in ascending order into as many table files as it takes.
type tables struct {
	backend *Backend
	db      *pebble.DB
	paths   []string
	open    *sstable.Writer // the last of paths, nil between two
	key     []byte          // scratch
}

// writer returns the table to write to.
func (w *tables) writer() (*sstable.Writer, error) {
	if w.open != nil && w.open.Raw().EstimatedSize() >= w.backend.tableBytes {
		if err := w.close(); err != nil {
			return nil, err
		}
	}
	if w.open != nil {
		return w.open, nil
	}
	b := w.backend
	b.tables++
	path := b.fs.PathJoin(b.dir, incoming, fmt.Sprintf("%06d.sst", b.tables))
	file, err := b.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("make a table: %w", err)
	}
	file = vfs.NewSyncingFile(file, vfs.SyncingFileOptions{BytesPerSync: bytesPerSync})
	w.paths = append(w.paths, path)
	w.open = sstable.NewWriter(objstorageprovider.NewFileWritable(file),
		b.opts.MakeWriterOptions(0, w.db.TableFormat()))
	return w.open, nil
}

// close completes the table that is being written, and syncs it.
func (w *tables) close() error {
	if w.open == nil {
		return nil
	}
	err := w.open.Close()
	w.open = nil
	if err != nil {
		return fmt.Errorf("write a table: %w", err)
	}
	return nil
}

func (w *tables) set(key, value []byte) error {
	t, err := w.writer()
	if err != nil {
		return err
	}
	return t.Set(key, value)
}

func (w *tables) deleteRange(from, to []byte) error {
	t, err := w.writer()
	if err != nil {
		return err
	}
	return t.DeleteRange(from, to)
}

// merge writes the tables of one stage. A key that is deleted but is not in
// the database is left out: its tombstone would delete nothing, and with
// nothing below it it could stay in the lowest level for ever.
func (w *tables) merge(stage []state.Table) error {
	name := stage[0].Stage
	stored := &lookup{db: w.db}
	err := func() error {
		for i, o := range sortWrites(stage) {
			if i%writesPerTurn == 0 {
				runtime.Gosched()
			}
			w.key = appendKey(w.key[:0], name, o.write.Key)
			if o.write.Value != nil {
				if err := w.set(w.key, o.write.Value); err != nil {
					return err
				}
				continue
			}
			found, err := stored.has(w.key)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			t, err := w.writer()
			if err != nil {
				return err
			}
			if err := t.Delete(w.key); err != nil {
				return err
			}
		}
		return nil
	}()
	return errors.Join(err, stored.close())
}

// lookup says which keys are in the database. It opens an iterator when it is
// first asked.
type lookup struct {
	db *pebble.DB
	it *pebble.Iterator
}

func (l *lookup) has(key []byte) (bool, error) {
	if l.it == nil {
		it, err := l.db.NewIter(nil)
		if err != nil {
			return false, err
		}
		l.it = it
	}
	found := l.it.SeekPrefixGE(key) && bytes.Equal(l.it.Key(), key)
	return found, l.it.Error()
}

func (l *lookup) close() error {
	if l.it == nil {
		return nil
	}
	return l.it.Close()
}

// clearIncoming makes the folder for tables, and removes those that a crash
// has left in it.
func (b *Backend) clearIncoming() error {
	dir := b.fs.PathJoin(b.dir, incoming)
	if err := durable.MakeDir(b.fs, dir); err != nil {
		return err
	}
	names, err := b.fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := b.fs.Remove(b.fs.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("remove an unfinished table: %w", err)
		}
	}
	return nil
}
