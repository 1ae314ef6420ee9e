package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrBusy is the error where another process did not let go of what one at a
// time may do.
var ErrBusy = errors.New("another process migrates the tables, and does not come to an end")

// How long another process may take, and how often it is looked.
const (
	exclusiveWait  = time.Minute
	exclusiveEvery = 50 * time.Millisecond
)

// Exclusive does what one process at a time may do with a database. try is the
// statement that takes a lock of its session or transaction and says whether it
// has come by it, release the one that gives it up, "" where it ends with the
// transaction. What is done uses other connections of the pool.
func Exclusive(ctx context.Context, db *sql.DB, try, release string, do func() error) (err error) {
	// In a transaction, so that a pooler between keeps to one session.
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	for end := time.Now().Add(exclusiveWait); ; {
		var taken bool
		if err := tx.QueryRowContext(ctx, try).Scan(&taken); err != nil {
			return fmt.Errorf("locking the tables: %w", err)
		}
		if taken {
			break
		}
		if time.Now().After(end) {
			return ErrBusy
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(exclusiveEvery):
		}
	}
	err = do()
	if release != "" {
		_, released := tx.ExecContext(ctx, release)
		err = errors.Join(err, released)
	}
	return err
}
