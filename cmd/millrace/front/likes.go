package front

import (
	"context"
	"net/http"

	"millrace/catalog/database"
	"millrace/cmd/millrace/likes"
)

// serveLikes begins the likes service where there is a database for its table.
// The log is the engine's: it gets the events from the table by itself.
func (f *front) serveLikes(ctx context.Context) (err error) {
	o := &f.options
	if o.Catalog.Driver == "" || o.Catalog.Driver == database.SQLite {
		return nil
	}
	f.likes, err = likes.Start(ctx, o.Likes, likes.Parts{Database: o.Catalog, Brokers: o.Kafka, Users: users{f}, Logger: o.Logger})
	return err
}

// likesHandler answers likes: here, or the engine does.
func (f *front) likesHandler() http.Handler {
	switch {
	case f.likes != nil:
		return f.likes.Handler
	case f.options.Likes.Enabled:
		return f.passed
	}
	return nil
}
