package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"millrace/catalog/database"
)

// Store is the table of reactions. Its methods may be called from any
// goroutine and any number of processes.
type Store struct {
	db       *sql.DB
	dialect  dialect
	identity string

	insert, next, after, ofContent, last, place *sql.Stmt
	lock, advance, forget, lease                *sql.Stmt

	arrived *news // reactions that were put
}

func newStore(ctx context.Context, db *sql.DB, d dialect) (*Store, error) {
	migrations, err := d.migrations()
	if err != nil {
		return nil, err
	}
	if err := database.MigrateAlone(ctx, db, d.goose, migrationsTable, migrations, d.exclusive); err != nil {
		return nil, err
	}
	s := &Store{db: db, dialect: d, arrived: newNews()}
	p := d.placeholder
	const columns = "SELECT seq, kind, user_id, content_id, title, idempotency, created_at, position, ordinal FROM reactions WHERE "
	stmts := database.NewPreparer(ctx)
	s.insert = stmts.Prepare(db, "INSERT INTO reactions (kind, user_id, content_id, title, idempotency, created_at) VALUES ("+
		p(1)+", "+p(2)+", "+p(3)+", "+p(4)+", "+p(5)+", "+p(6)+") "+d.ignore)
	s.next = stmts.Prepare(db, "SELECT seq, content_id FROM reactions WHERE position IS NULL ORDER BY seq LIMIT "+p(1))
	s.last = stmts.Prepare(db, "SELECT COALESCE(MAX(ordinal), 0) FROM reactions WHERE content_id = "+p(1))
	s.place = stmts.Prepare(db, "UPDATE reactions SET position = "+p(1)+", ordinal = "+p(2)+" WHERE seq = "+p(3))
	s.after = stmts.Prepare(db, columns+"position > "+p(1)+" ORDER BY position LIMIT "+p(2))
	s.ofContent = stmts.Prepare(db, columns+"content_id = "+p(1)+" AND ordinal > "+p(2)+" AND ordinal <= "+p(3)+" ORDER BY ordinal LIMIT "+p(4))
	s.lock = stmts.Prepare(db, "SELECT position FROM outbox"+d.lock)
	s.advance = stmts.Prepare(db, "UPDATE outbox SET position = "+p(1))
	s.forget = stmts.Prepare(db, "UPDATE reactions SET user_id = '', idempotency = "+p(1)+" WHERE seq = "+p(2))
	s.lease = stmts.Prepare(db, "UPDATE outbox SET holder = "+p(1)+", lease_until = "+d.clock+" + "+p(2)+
		" WHERE holder = "+p(3)+" OR lease_until < "+d.clock)
	if err := stmts.Err(); err != nil {
		return nil, err
	}
	name := rand.Text()
	if _, err := db.ExecContext(ctx, "UPDATE outbox SET identity = "+p(1)+" WHERE identity = ''", name); err != nil {
		return nil, err
	}
	return s, db.QueryRowContext(ctx, "SELECT identity FROM outbox").Scan(&s.identity)
}

// Identity tells these tables from all others, for those who remember how far
// they have got with them.
func (s *Store) Identity() string { return s.identity }

// Close closes the connections.
func (s *Store) Close() error { return s.db.Close() }

// tries is how often a statement is tried that may be repeated, and retryAfter
// how long it waits first, times the try.
const (
	tries      = 4
	retryAfter = 20 * time.Millisecond
)

// repeat runs what may be run any number of times until it succeeds, as a
// connection that breaks does not tell what came of the statement.
func (s *Store) repeat(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.dialect.timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		if try == tries || ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, s.dialect.explain(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * retryAfter):
		}
	}
}

// Put stores a reaction; fresh is false where it was there already. After an
// error it may be stored all the same: putting it again does no harm, if it is
// of a kind that is possible once, or has a key. The error wraps ErrInvalid or
// ErrUnavailable.
func (s *Store) Put(ctx context.Context, r Reaction) (fresh bool, err error) {
	if err := r.Check(); err != nil {
		return false, err
	}
	key := ""
	switch {
	case r.Kind.Once():
	case r.Key != "":
		key = "key:" + r.Key
	default:
		key = "new:" + rand.Text() // the same in each try
	}
	err = s.repeat(ctx, func(ctx context.Context) error {
		result, err := s.insert.ExecContext(ctx, string(r.Kind), r.User, r.Content, r.Title, key, int64(r.Time))
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		fresh = fresh || n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("storing a reaction: %w", err)
	}
	s.arrived.tell()
	return fresh, nil
}

// Arrived is closed when this process puts the next reaction.
func (s *Store) Arrived() <-chan struct{} { return s.arrived.coming() }

// Place gives up to n reactions that have none their position and ordinal, and
// tells how many those were. A row's number says nothing of when its
// transaction commits; its position does: whoever has read up to one has missed
// nothing before it.
func (s *Store) Place(ctx context.Context, n int) (placed int, err error) {
	for try := 1; ; try++ {
		placed, err = s.placeOnce(ctx, n)
		if err == nil || !s.dialect.undone(err) || try == tries {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("placing reactions: %w: %w", ErrUnavailable, s.dialect.explain(err))
	}
	return placed, nil
}

func (s *Store) placeOnce(ctx context.Context, n int) (placed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.dialect.timeout)
	defer cancel()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			if undo := tx.Rollback(); undo != nil && ctx.Err() == nil && !errors.Is(undo, sql.ErrTxDone) {
				err = errors.Join(err, undo)
			}
		}
	}()
	if placed, err = s.placeIn(ctx, tx, n); err != nil {
		return 0, err
	}
	return placed, tx.Commit()
}

// placeIn is placeOnce in a transaction, which locks out all others that place.
func (s *Store) placeIn(ctx context.Context, tx *sql.Tx, n int) (placed int, err error) {
	var position int64
	err = within(ctx, tx, s.lock, func(lock *sql.Stmt) error { return lock.QueryRowContext(ctx).Scan(&position) })
	if err != nil {
		return 0, err
	}
	list, err := s.unplaced(ctx, tx, n)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	ordinals := map[string]int64{} // the last ones of contents
	err = within(ctx, tx, s.last, func(last *sql.Stmt) error {
		for _, u := range list {
			var ordinal int64
			if _, known := ordinals[u.content]; known {
				continue
			}
			if err := last.QueryRowContext(ctx, u.content).Scan(&ordinal); err != nil {
				return err
			}
			ordinals[u.content] = ordinal
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = within(ctx, tx, s.place, func(place *sql.Stmt) error {
		for _, u := range list {
			position++
			ordinals[u.content]++
			if _, err := place.ExecContext(ctx, position, ordinals[u.content], u.seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(list), within(ctx, tx, s.advance, func(advance *sql.Stmt) error {
		_, err := advance.ExecContext(ctx, position)
		return err
	})
}

// within runs fn with a statement as it is in a transaction.
func within(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, fn func(*sql.Stmt) error) (err error) {
	stmt = tx.StmtContext(ctx, stmt)
	defer func() { err = errors.Join(err, stmt.Close()) }()
	return fn(stmt)
}

type unplaced struct {
	seq     int64
	content string
}

func (s *Store) unplaced(ctx context.Context, tx *sql.Tx, n int) (list []unplaced, err error) {
	err = within(ctx, tx, s.next, func(next *sql.Stmt) (err error) {
		rows, err := next.QueryContext(ctx, n)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var u unplaced
			if err := rows.Scan(&u.seq, &u.content); err != nil {
				return err
			}
			list = append(list, u)
		}
		return rows.Err()
	})
	return list, err
}

// After are up to n entries after a position, in order.
func (s *Store) After(ctx context.Context, position uint64, n int) ([]Entry, error) {
	return s.entries(ctx, s.after, int64(position), n)
}

// OfContent are up to n entries of a content with ordinals after one and up to
// another, in order.
func (s *Store) OfContent(ctx context.Context, content string, after, last uint64, n int) ([]Entry, error) {
	return s.entries(ctx, s.ofContent, content, int64(after), int64(last), n)
}

func (s *Store) entries(ctx context.Context, stmt *sql.Stmt, args ...any) (list []Entry, err error) {
	err = s.repeat(ctx, func(ctx context.Context) (err error) {
		list = list[:0]
		rows, err := stmt.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var e Entry
			var seq, position, ordinal int64
			if err := rows.Scan(&seq, &e.Kind, &e.User, &e.Content, &e.Title, &e.Key, (*int64)(&e.Time), &position, &ordinal); err != nil {
				return err
			}
			e.Seq, e.Position, e.Ordinal = uint64(seq), uint64(position), uint64(ordinal)
			list = append(list, e)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading reactions: %w", err)
	}
	return list, nil
}

// Forget takes a user's name off all reactions. The counts stay; what was not
// taken to the recommender yet never is.
func (s *Store) Forget(ctx context.Context, user string) error {
	err := s.repeat(ctx, func(ctx context.Context) (err error) {
		rows, err := s.db.QueryContext(ctx, "SELECT seq FROM reactions WHERE user_id = "+s.dialect.placeholder(1), user)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		var list []int64
		for rows.Next() {
			var seq int64
			if err := rows.Scan(&seq); err != nil {
				return err
			}
			list = append(list, seq)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, seq := range list {
			if _, err := s.forget.ExecContext(ctx, fmt.Sprint("forgotten:", seq), seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forgetting a user's reactions: %w", err)
	}
	return nil
}

// Lease makes holder the one that takes reactions to other systems for a time,
// or tells that another one is.
func (s *Store) Lease(ctx context.Context, holder string, d time.Duration) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d/3)
	defer cancel()
	result, err := s.lease.ExecContext(ctx, holder, d.Milliseconds(), holder)
	if err != nil {
		return false, fmt.Errorf("leasing the outbox: %w: %w", ErrUnavailable, s.dialect.explain(err))
	}
	n, err := result.RowsAffected()
	return n == 1, err
}
