// Package sqldata opens the databases of a data directory, for all commands.
package sqldata

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/catalog/database"
	"millrace/catalog/opener"
	"millrace/catalog/sqlite"
	"millrace/catalog/sqlstore"
	"millrace/cmd/millrace/savepoint"
	"millrace/internal/durable"
)

// ownerFile holds the name by which a data directory claims a database that is
// not in it.
const ownerFile = "catalog-owner"

// Open opens the catalogue of a data directory. A database outside of it is
// claimed: it refuses to be written by another data directory from then on.
func Open(ctx context.Context, c database.Config, data string) (*sqlstore.Store, error) {
	if c.Driver == database.SQLite || c.Driver == "" {
		return sqlite.Open(ctx, filepath.Join(data, savepoint.CatalogFile))
	}
	if c.Shared {
		return nil, fmt.Errorf("%w: catalog.shared: want false: a server with an engine keeps the catalogue in its log, and a copy in its database. It is for servers with --views redis", database.ErrConfig)
	}
	name, err := owner(data)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	store, err := opener.Open(ctx, c, "")
	if err != nil {
		return nil, err
	}
	if err := store.Claim(ctx, name, c.TakeOver); err != nil {
		if errors.Is(err, sqlstore.ErrOwner) || errors.Is(err, sqlstore.ErrShared) {
			err = fmt.Errorf("%w: name an empty one in catalog.dsn, or set catalog.take_over to replace what it holds by what this one knows", err)
		}
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// OpenStored is Open for commands that look at a data directory without its
// configuration, perhaps: nil where the catalogue is in a database that they
// were not told of.
func OpenStored(ctx context.Context, c database.Config, data string) (*sqlstore.Store, error) {
	_, err := os.Stat(filepath.Join(data, ownerFile))
	if err == nil && c.Driver == database.SQLite {
		if _, err := os.Stat(filepath.Join(data, savepoint.CatalogFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return Open(ctx, c, data)
}

// owner is the name of a data directory, which is made if it has none.
func owner(data string) (string, error) {
	path := filepath.Join(data, ownerFile)
	text, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(text))) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := rand.Text()
	if err := os.WriteFile(path, []byte(name+"\n"), 0o644); err != nil {
		return "", err
	}
	// The database must not know the name before it is here to stay.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	return name, errors.Join(f.Sync(), f.Close(), durable.SyncDir(vfs.Default, data))
}
