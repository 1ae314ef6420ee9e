package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/event"
)

// ErrOwner says that the database holds the catalogue of another data
// directory.
var ErrOwner = errors.New("the database holds the catalogue of another data directory")

// progress is the row of applied.
type progress struct {
	block uint64
	owner string
	// epoch counts how often everything was replaced: what was read before is
	// no beginning for what is read now.
	epoch int64
	// pruned is the last block of which deletions are no longer told.
	pruned uint64
}

func scanProgress(row *sql.Row) (progress, error) {
	var p progress
	var block, pruned int64 // SQL's integers are signed; the bits are what counts
	if err := row.Scan(&block, &p.owner, &p.epoch, &pruned); err != nil {
		return progress{}, fmt.Errorf("reading the last block of the catalogue: %w", err)
	}
	p.block, p.pruned = uint64(block), uint64(pruned)
	return p, nil
}

func (s *Store) progress(ctx context.Context) (progress, error) {
	ctx, cancel := bounded(ctx, s.dialect.Timeout)
	defer cancel()
	p, err := scanProgress(s.readProgress.QueryRowContext(ctx))
	return p, s.dialect.explain(err)
}

// lock reads the progress and keeps others from writing until the transaction
// ends.
func (s *Store) lock(ctx context.Context, tx *transaction) (progress, error) {
	var p progress
	err := tx.row(ctx, s.lockProgress, func(row *sql.Row) (err error) {
		p, err = scanProgress(row)
		return err
	})
	if err != nil {
		return p, err
	}
	switch {
	case s.owner == "" || p.owner == s.owner:
		return p, nil
	case p.owner == shared:
		return p, ErrShared
	}
	return p, ErrOwner
}

// set runs a statement that writes to the row of applied.
func (s *Store) set(ctx context.Context, tx *transaction, stmt *sql.Stmt, values ...any) error {
	row := func(dst []any, _ int) []any { return append(dst, values...) }
	if err := execute(ctx, tx, stmt, 1, 0, 1, row); err != nil {
		return fmt.Errorf("noting the progress: %w", err)
	}
	return nil
}

// Claim makes the database that of an owner, a data directory, by a name that
// no other has: from then on this Store writes only as long as it is. Blocks
// are numbered by their log, so those of another would be taken for old ones.
// The error wraps ErrOwner where it is another's already, or ErrShared where it
// is everybody's; with takeOver all that is in it is dropped then, and Applied
// is 0.
func (s *Store) Claim(ctx context.Context, owner string, takeOver bool) error {
	err := s.transact(ctx, func(ctx context.Context, tx *transaction) error {
		s.owner = ""
		at, err := s.lock(ctx, tx)
		if err != nil || at.owner == owner {
			return err
		}
		if at.owner != "" || at.block > 0 {
			if !takeOver {
				if at.owner == shared {
					return ErrShared
				}
				return ErrOwner
			}
			if err := s.refill(ctx, tx, 0, slices.Values([]*event.Item{}), slices.Values([]*event.User{})); err != nil {
				return err
			}
		}
		return s.set(ctx, tx, s.setOwner, owner)
	})
	if err != nil {
		return fmt.Errorf("claiming the catalogue's database: %w", err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.owner = owner
	return nil
}

// shared is the owner of tables that no log belongs to.
const shared = "*shared"

// ErrShared says that several processes write the database, each in transactions
// of its own: it is no copy of one log.
var ErrShared = errors.New("the database is shared by processes that write it without a log")

// Share makes the database one that any number of Stores write with Write; what
// is in it stays. A data directory that it was a copy of can not write to it any
// longer.
func (s *Store) Share(ctx context.Context) error {
	err := s.transact(ctx, func(ctx context.Context, tx *transaction) error {
		s.owner = ""
		at, err := s.lock(ctx, tx)
		if err != nil || at.owner == shared {
			return err
		}
		return s.set(ctx, tx, s.setOwner, shared)
	})
	if err != nil {
		return fmt.Errorf("sharing the catalogue's database: %w", err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.owner = shared
	return nil
}

// Write applies changes to a database that is shared, as one block after all
// that are there, whose number it returns. What others write comes before or
// after. It may be called again where it is not known what came of it: the rows
// are the same then.
func (s *Store) Write(ctx context.Context, changes []event.Change) (block uint64, err error) {
	items, users, err := fold(changes)
	if err == nil {
		err = s.transact(ctx, func(ctx context.Context, tx *transaction) error {
			at, err := s.lock(ctx, tx)
			if err != nil {
				return err
			}
			block = at.block + 1
			return s.write(ctx, tx, items, users, block)
		})
	}
	if err != nil {
		return 0, fmt.Errorf("writing to the catalogue: %w", err)
	}
	return block, nil
}

// A deletion is told to followers for graveLife, as the hash of the id: not
// even the id of a deleted user is to stay. Graves that are older are removed
// every pruneEvery.
const (
	graveLife  = time.Hour
	pruneEvery = time.Minute
)

// grave is how a deleted id is told.
func grave(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// prune removes old graves, if it is time to, and notes up to which block.
func (s *Store) prune(ctx context.Context, tx *transaction) error {
	now := time.Now()
	if now.Sub(s.pruned) < pruneEvery {
		return nil
	}
	before := now.Add(-graveLife).UnixMilli()
	for _, t := range []struct{ oldest, unbury *sql.Stmt }{{s.items.oldest, s.items.unbury}, {s.users.oldest, s.users.unbury}} {
		var last int64
		if err := tx.row(ctx, t.oldest, func(row *sql.Row) error { return row.Scan(&last) }, before); err != nil {
			return fmt.Errorf("reading old deletions: %w", err)
		}
		if last == 0 {
			continue
		}
		if err := s.set(ctx, tx, t.unbury, before); err != nil {
			return err
		}
		if err := s.set(ctx, tx, s.setPruned, last, last); err != nil {
			return err
		}
	}
	s.pruned = now
	return nil
}
