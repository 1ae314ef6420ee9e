// Package front wires views in Redis: the mirror of an engine's views, and the
// servers that answer from it without an engine of their own.
package front

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend"
	"millrace/serve/api"
	"millrace/view/redis"
	"millrace/view/redis/mirror"
)

// ownerFile names the file of a data directory that says who its engine is, to
// Redis.
const ownerFile = "redis-owner"

// Mirrored is an engine's views and the connection to the Redis that they are
// copied to.
type Mirrored struct {
	*mirror.Mirror
	client *redis.Client
	engine Engine
}

// Engine is what a mirror tells of the engine besides views.
type Engine interface{ Stats() api.EngineStats }

// OpenMirror makes the views of the engine of a data directory. Nothing is
// copied before Start.
func OpenMirror(c redis.Config, data string, logger *slog.Logger) (*Mirrored, error) {
	client, err := redis.NewClient(c, recommend.Views())
	if err != nil {
		return nil, err
	}
	id, err := owner(data)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	m := &Mirrored{client: client}
	m.Mirror = mirror.New(mirror.Options{
		Client: client, Owner: redis.Owner{ID: id, Host: fmt.Sprintf("%s (process %d)", host, os.Getpid())},
		Eager: userViews(), Figures: m.figures, Logger: logger,
	})
	return m, nil
}

// owner is the id of the engine of a data directory, made if it has none.
func owner(data string) (string, error) {
	path := filepath.Join(data, ownerFile)
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("redis: %w", err)
	}
	id := rand.Text()
	if err := os.WriteFile(path, []byte(id+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("redis: %w", err)
	}
	return id, nil
}

// userViews are the views whose keys are users.
func userViews() map[string]bool {
	views := map[string]bool{}
	for _, n := range recommend.Topology(event.DefaultTypes(), recommend.Defaults()).Nodes() {
		for _, v := range n.Views {
			views[v] = n.Subject == operator.SubjectUser
		}
	}
	return views
}

// Start begins to copy.
func (m *Mirrored) Start(c mirror.Catalogue, e Engine) {
	m.engine = e
	m.Mirror.Start(c)
}

// The figures that fronts show.
const (
	figureEvents     = "events"
	figureDuplicates = "duplicates"
	figureLate       = "late"
)

func (m *Mirrored) figures() []any {
	s := m.engine.Stats()
	list := []any{figureEvents, s.Events, figureDuplicates, s.Duplicates, figureLate, s.Late}
	for _, name := range m.client.Views() {
		list = append(list, redis.KeysFigure(name), m.Len(name))
	}
	return list
}

// System is Redis as health tells of it.
func (m *Mirrored) System() api.System {
	return api.System{Name: "redis", Err: func() error {
		switch err := m.Err(); {
		case err == nil:
			return nil
		case errors.Is(err, mirror.ErrRewriting):
			return err
		default:
			return fmt.Errorf("the views in redis are not kept up to date: %s", redis.Cause(err))
		}
	}}
}

// Close stops copying.
func (m *Mirrored) Close() error { return errors.Join(m.Mirror.Close(), m.client.Close()) }
