package worker

import (
	"context"
	"fmt"
	"log/slog"

	"millrace/catalog"
	"millrace/catalog/database"
	"millrace/catalog/opener"
	"millrace/catalog/sqlstore"
)

// catalogue is what is known of items and users, as the database has it, for all
// sessions of the process.
type catalogue struct{ index *catalog.Index }

// openCatalogue reads the catalogue and follows it as long as the process lives.
// It is nil for SQLite, which only one process has.
func openCatalogue(c database.Config, logger *slog.Logger) (*catalogue, error) {
	if c.Driver == "" || c.Driver == database.SQLite {
		logger.Warn("catalog.driver: events are not enriched: want mysql or postgres, which all workers can read")
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openPatience)
	defer cancel()
	store, err := opener.Open(ctx, c, "")
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	n := &catalogue{catalog.NewIndex()}
	follower := store.Follow(n.index, sqlstore.FollowOptions{Logger: logger})
	if err := follower.Step(ctx); err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	go follower.Run(context.Background()) // until the process ends
	return n, nil
}
