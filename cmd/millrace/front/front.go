package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"millrace/catalog/database"
	"millrace/cmd/millrace/likes"
	"millrace/event"
	"millrace/internal/headroom"
	"millrace/internal/kafkaclient"
	"millrace/recommend"
	"millrace/serve"
	"millrace/serve/api"
	"millrace/serve/forward"
	"millrace/serve/problem"
	"millrace/view/redis"
	"millrace/view/redis/reader"
)

// Options are what a front is made of.
type Options struct {
	Redis redis.Config
	// Catalog is the SQL database that the catalogue is read from; SQLite, which
	// is a file of the engine's, means that it is read from Redis too.
	Catalog database.Config
	// Kafka, if there are brokers, is where events are sent, to the topic of
	// Redis.EventsTopic. Bad ones go to DeadLetterTopic, unless that is empty.
	Kafka           kafkaclient.Config
	DeadLetterTopic string
	// Likes is the likes service; without a database of Catalog its requests are
	// for the engine.
	Likes  likes.Config
	Listen string
	Keys   []string
	// Recommender ranks from a catalogue.
	Recommender func(Catalogue) api.Recommender
	// Views are the views that the engine has, and Types the types of events that
	// it accepts.
	Views     []string
	Types     *event.Types
	Dashboard http.Handler
	// HeadroomMiB is how much garbage may gather between two collections.
	HeadroomMiB int
	Version     string
	Logger      *slog.Logger
}

// ErrNoRedis is the error of a configuration that names no Redis.
var ErrNoRedis = errors.New("configuration: redis.addresses: want HOST:PORT, as --views redis reads from there")

// shutdownTimeout is how long requests that are under way may take when the
// front is stopped.
const shutdownTimeout = 10 * time.Second

// Serve answers requests from the views in Redis until ctx ends; ready is
// called once it listens. It listens whether or not Redis is there: health says
// so, and it goes on by itself.
func Serve(ctx context.Context, o Options, ready func(*serve.Server) error) (err error) {
	if !o.Redis.Enabled() {
		return ErrNoRedis
	}
	client, err := redis.NewClient(o.Redis, recommend.Views())
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	f := &front{options: o, reader: reader.New(reader.Options{Client: client, Eager: userViews(), Logger: o.Logger})}
	defer f.reader.Close()
	if o.Redis.Engine != "" {
		if f.engine, err = forward.New(o.Redis.Engine, o.Redis.EngineKey, o.Logger); err != nil {
			return err
		}
		defer f.engine.Close()
	}
	if o.Kafka.Enabled() {
		stop, err := f.openTopics()
		if err != nil {
			return err
		}
		defer stop()
	}
	if f.catalogue, err = f.openCatalogue(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.catalogue.Close()) }()
	f.route()
	if err := f.serveLikes(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.likes.Close()) }()
	headroomed, stop := context.WithCancel(ctx)
	defer stop()
	go headroom.Keep(headroomed, uint64(o.HeadroomMiB)<<20)
	server, err := serve.New(serve.Options{
		Parts: f.parts(), Listen: o.Listen, Keys: o.Keys, Dashboard: o.Dashboard, Logger: o.Logger,
		Forward: f.forward, Stale: f.reader.Stale, Likes: f.likesHandler(),
	})
	if err != nil {
		return err
	}
	return f.run(ctx, server, ready)
}

// openTopics makes the topics that events are sent to.
func (f *front) openTopics() (stop func(), err error) {
	o := &f.options
	topic, err := forward.NewTopic(o.Kafka, o.Redis.EventsTopic, o.Logger)
	if err != nil {
		return nil, err
	}
	f.topic = newTopicIngest(topic, o.Redis.EventsTopic)
	f.letters.shared = o.Catalog.Shared
	if o.DeadLetterTopic == "" {
		return topic.Close, nil
	}
	if f.letters.topic, err = forward.NewTopic(o.Kafka, o.DeadLetterTopic, o.Logger); err != nil {
		topic.Close()
		return nil, err
	}
	return func() {
		topic.Close()
		f.letters.topic.Close()
	}, nil
}

func (f *front) run(ctx context.Context, server *serve.Server, ready func(*serve.Server) error) error {
	if err := server.Listen(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve() }()
	err := ready(server)
	if err == nil {
		select {
		case err = <-done:
			return err
		case <-ctx.Done():
		}
	}
	stopping, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if stopped := server.Shutdown(stopping); stopped != nil && !errors.Is(stopped, context.DeadlineExceeded) {
		err = errors.Join(err, fmt.Errorf("stop: %w", stopped))
	}
	return errors.Join(err, <-done)
}

// front is a server without an engine of its own.
type front struct {
	options   Options
	reader    *reader.Reader
	catalogue Catalogue
	shared    *sharedCatalogue // the catalogue, nil if an engine writes it
	engine    *forward.Engine  // nil: there is nobody to pass anything on to
	topic     *topicIngest     // nil: events go to the engine
	letters   topicLetters
	likes     *likes.Service // nil: they are the engine's

	passed  http.Handler // requests for the engine
	applied http.Handler // the same, and the answer comes when it shows here
	early   http.Handler // requests that come before there is a catalogue
}

// own are the routes that are answered from views and catalogue, and always
// those that say how this server does.
var (
	own = []string{
		"GET /v1/users/{id}/recommendations", "POST /v1/sessions/recommendations", "POST /v1/recommendations:batch",
		"GET /v1/items/{id}/neighbors",
		"GET /v1/trending", "GET /v1/cohorts/{cohort}/preferences", "GET /v1/users/{id}/profile", "GET /v1/items/{id}", "GET /v1/users/{id}",
	}
	always = []string{"GET /v1/health", "GET /v1/stats", "GET /v1/stats/stream", "GET /openapi.json", "GET /metrics", "GET /{$}", "GET /dashboard/"}
)

// route makes the handlers of what is not answered here.
func (f *front) route() {
	f.early = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		why := "the catalogue has not been read yet"
		if err := f.reader.Err(); err != nil {
			why = err.Error()
		}
		problem.New(http.StatusServiceUnavailable, "unavailable: %s", why).RetryAfter(time.Second).Write(w)
	})
	if f.engine == nil {
		f.passed = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			problem.New(http.StatusServiceUnavailable,
				"unavailable: this server only reads what an engine has computed, and does not know where that is: redis.engine is not configured").Write(w)
		})
		f.applied = f.passed
		return
	}
	f.passed, f.applied = f.engine.Handler(nil), f.engine.Handler(f.visible)
}

// forward says who answers a route.
func (f *front) forward(pattern string) http.Handler {
	switch {
	case slices.Contains(always, pattern):
		return nil
	case slices.Contains(own, pattern):
		if !f.catalogue.Loaded() {
			return f.early
		}
		return nil
	case (pattern == "POST /v1/events" || pattern == "POST /v1/deadletters") && f.topic != nil, strings.HasPrefix(pattern, "POST /recommendation/") && f.likes != nil:
		return nil
	case pattern == "POST /v1/events":
		return http.HandlerFunc(f.events)
	case f.shared != nil && isCatalogue(pattern):
		if !f.catalogue.Loaded() {
			return f.early
		}
		return nil
	case !strings.HasPrefix(pattern, "GET ") && isCatalogue(pattern):
		return f.applied // catalogue writes are answered when they are visible everywhere
	}
	return f.passed
}

// isCatalogue reports whether a route is of items and users.
func isCatalogue(pattern string) bool {
	return strings.Contains(pattern, " /v1/items") || strings.Contains(pattern, " /v1/users")
}

// events passes events on.
func (f *front) events(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("wait") == "applied" {
		f.applied.ServeHTTP(w, r)
		return
	}
	f.passed.ServeHTTP(w, r)
}

// visibleTimeout bounds the wait until what the engine has applied shows in
// Redis.
const visibleTimeout = 30 * time.Second

// errNotVisible is what clients are told whose events are not in Redis in time.
var errNotVisible = errors.New("the engine has stored and applied it, but it is not in redis yet")

// visible returns once everything that the engine has applied can be read here.
func (f *front) visible(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, visibleTimeout)
	defer cancel()
	block, err := f.engine.Blocks(ctx)
	if err != nil {
		return errNotVisible
	}
	var seen redis.State
	err = f.reader.Wait(ctx, func(s redis.State) bool {
		seen = s
		return s.Block >= block && s.Phase != redis.Building
	})
	if err == nil {
		err = f.catalogue.Wait(ctx, seen)
	}
	if err != nil {
		return errNotVisible
	}
	return nil
}
