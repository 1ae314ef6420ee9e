package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrTimeout says that the database has not answered in time; what was asked
// of it may have been done all the same.
var ErrTimeout = errors.New("the database did not answer in time")

// transaction is one that is given up when its database no longer answers.
type transaction struct {
	*sql.Tx
	timer   *time.Timer // nil without a timeout
	timeout time.Duration
}

// begins notes that a statement begins, which has the timeout for itself.
func (tx *transaction) begins() {
	if tx.timer != nil {
		tx.timer.Reset(tx.timeout)
	}
}

// row reads the one row that a statement gives.
func (tx *transaction) row(ctx context.Context, stmt *sql.Stmt, scan func(*sql.Row) error, values ...any) (err error) {
	tx.begins()
	stmt = tx.StmtContext(ctx, stmt)
	defer func() { err = errors.Join(err, stmt.Close()) }()
	return scan(stmt.QueryRowContext(ctx, values...))
}

// retries is how often a transaction is run again that the database has undone,
// and retryAfter how long it waits for the others first, times the try.
const (
	retries    = 5
	retryAfter = 5 * time.Millisecond
)

// transact runs fn in a transaction of the writer: committed when fn gives
// nil, rolled back otherwise. Where the database has undone all of it in
// favour of another, fn is run again.
//
// Nothing else is tried again here: of a connection that was lost it is not
// known what came of the commit. Whoever applies a block may do that again,
// because a block counts once.
func (s *Store) transact(ctx context.Context, fn func(context.Context, *transaction) error) error {
	for try := 1; ; try++ {
		err := s.once(ctx, fn)
		if err == nil || s.dialect.Retry == nil || !s.dialect.Retry(err) || try > retries {
			return s.dialect.explain(err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try) * retryAfter):
		}
	}
}

// once is transact that runs fn once.
func (s *Store) once(ctx context.Context, fn func(context.Context, *transaction) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tx := &transaction{timeout: s.dialect.Timeout}
	if tx.timeout > 0 {
		tx.timer = time.AfterFunc(tx.timeout, func() { cancel(ErrTimeout) })
		defer tx.timer.Stop()
	}
	var err error
	if tx.Tx, err = s.writer.BeginTx(ctx, nil); err != nil {
		return fmt.Errorf("beginning a transaction: %w", because(ctx, err))
	}
	if err := fn(ctx, tx); err != nil {
		err = because(ctx, err)
		if undo := tx.Rollback(); undo != nil && ctx.Err() == nil && !errors.Is(undo, sql.ErrTxDone) {
			return errors.Join(err, fmt.Errorf("rolling back: %w", undo))
		}
		return err
	}
	tx.begins()
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", because(ctx, err))
	}
	return nil
}

// because has an error say that it is because of ctx, rather than only that
// the "transaction has been rolled back".
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// bounded is ctx for one statement that must be answered in time.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, timeout, ErrTimeout)
}

// explain puts words to an error.
func (d *Dialect) explain(err error) error {
	if err == nil || d.Explain == nil {
		return err
	}
	return d.Explain(err)
}
