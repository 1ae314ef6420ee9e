// Package api is the HTTP API: typed handlers from which the OpenAPI document
// is generated. It knows nothing of connections, keys and dashboards (package
// serve does), and reaches the rest of the product through Parts.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/sse"

	"millrace/serve/intake"
	"millrace/serve/strict"
)

// API is the routes under /v1 and /openapi.json.
type API struct {
	imports  imports
	parts    Parts
	intake   *intake.Intake
	huma     huma.API
	payloads sync.Pool // of *[]byte
	active   active
	closing  chan struct{}
	close    sync.Once
}

// New makes the API and registers its routes.
func New(parts Parts, mux *http.ServeMux) (*API, error) {
	parts = parts.withDefaults()
	a := &API{
		parts: parts, intake: intake.New(parts.MaxBodyBytes, parts.MaxBodiesBytes), closing: make(chan struct{}),
		payloads: sync.Pool{New: func() any { return new([]byte) }},
	}
	a.huma = humago.New(mux, config(parts.Version))
	a.huma.UseMiddleware(strict.Query)
	a.routes()
	return a, a.publish(mux)
}

// config is that of huma: JSON only, and none of the routes that huma would
// add.
func config(version string) huma.Config {
	format := huma.DefaultJSONFormat
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Millrace", Version: version,
				Description: "Events in, fresh recommendations out. Errors are problems as in RFC 9457. " +
					"With keys set, every request but GET /v1/health carries one in X-API-Key, as a bearer token, or as the password of HTTP Basic.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"header": {Type: "apiKey", In: "header", Name: "X-API-Key"},
					"bearer": {Type: "http", Scheme: "bearer"},
					"basic":  {Type: "http", Scheme: "basic"},
				},
			},
			Security: []map[string][]string{{"header": {}}, {"bearer": {}}, {"basic": {}}, {}},
		},
		Formats:       map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat: "application/json",
	}
}

// Close ends the streams, which would hold up a shutdown.
func (a *API) Close() { a.close.Do(func() { close(a.closing) }) }

// register adds a route. What its handler returns as an error is answered as
// the table of errors says, and logged where it is the server's mistake.
func register[I, O any](a *API, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err == nil {
			return out, nil
		}
		p := toProblem(err)
		if p.Status == http.StatusInternalServerError {
			a.parts.Logger.Error("request failed", "operation", op.OperationID, "error", err)
		}
		return nil, p
	})
}

// routes registers everything.
func (a *API) routes() {
	register(a, operation("getHealth", http.MethodGet, "/v1/health", "operations", "Whether the server works"), a.health)
	register(a, operation("getStats", http.MethodGet, "/v1/stats", "operations", "How the server is doing"), a.stats)
	sse.Register(a.huma, operation("streamStats", http.MethodGet, "/v1/stats/stream", "operations",
		"How the server is doing, once a second, as server-sent events"), map[string]any{"message": Stats{}}, a.streamStats)
	register(a, operation("getCheckpoints", http.MethodGet, "/v1/checkpoints", "operations", "The latest checkpoints"), a.checkpoints)
	register(a, operation("getDeadLetters", http.MethodGet, "/v1/deadletters", "operations", "Events that were refused"), a.deadLetters)
	register(a, operation("postDeadLetters", http.MethodPost, "/v1/deadletters", "operations",
		"Keep what a client has read and could make no events of"), a.postDeadLetters)
	register(a, accepted(operation("postSavepoint", http.MethodPost, "/v1/savepoints", "operations", "Make a savepoint")), a.postSavepoint)
	register(a, operation("getSavepoints", http.MethodGet, "/v1/savepoints", "operations", "The savepoints"), a.savepoints)
	register(a, operation("getSavepoint", http.MethodGet, "/v1/savepoints/{id}", "operations", "A savepoint"), a.savepoint)
	register(a, operation("deleteSavepoint", http.MethodDelete, "/v1/savepoints/{id}", "operations", "Dispose of a savepoint"), a.deleteSavepoint)
	register(a, accepted(operation("postSavepointRestore", http.MethodPost, "/v1/savepoints/{id}/restore", "operations",
		"Restore a savepoint into this server")), a.postRestore)
	register(a, operation("getRestores", http.MethodGet, "/v1/restores", "operations", "The latest restores"), a.restores)
	register(a, operation("getRestore", http.MethodGet, "/v1/restores/{restore_id}", "operations", "A restore"), a.restore)
	register(a, operation("getSource", http.MethodGet, "/v1/sources/{name}", "operations", "How far an import has got"), a.source)

	register(a, operation("postEvents", http.MethodPost, "/v1/events", "events", "Send events"), a.postEvents)

	register(a, operation("getUserRecommendations", http.MethodGet, "/v1/users/{id}/recommendations", "recommendations",
		"Recommendations for a user"), a.userRecommendations)
	register(a, operation("postSessionRecommendations", http.MethodPost, "/v1/sessions/recommendations", "recommendations",
		"Recommendations for a visitor who is not known"), a.sessionRecommendations)
	register(a, operation("postBatchRecommendations", http.MethodPost, "/v1/recommendations:batch", "recommendations",
		"Recommendations for many users"), a.batchRecommendations)

	register(a, operation("getItemNeighbors", http.MethodGet, "/v1/items/{id}/neighbors", "recommendations",
		"What goes with an item"), a.neighbors)
	register(a, operation("getTrending", http.MethodGet, "/v1/trending", "recommendations", "What is popular"), a.trending)
	register(a, operation("getCohortPreferences", http.MethodGet, "/v1/cohorts/{cohort}/preferences", "recommendations",
		"What an age band or a gender likes"), a.cohortPreferences)
	register(a, operation("getUserProfile", http.MethodGet, "/v1/users/{id}/profile", "recommendations",
		"What is known of a user's taste and habits"), a.userProfile)

	register(a, operation("getItem", http.MethodGet, "/v1/items/{id}", "catalogue", "An item"), a.getItem)
	register(a, operation("putItem", http.MethodPut, "/v1/items/{id}", "catalogue", "Add or replace an item"), a.putItem)
	register(a, operation("deleteItem", http.MethodDelete, "/v1/items/{id}", "catalogue", "Delete an item"), a.deleteItem)
	register(a, operation("postItems", http.MethodPost, "/v1/items", "catalogue", "Add or replace many items"), a.postItems)
	register(a, operation("getUser", http.MethodGet, "/v1/users/{id}", "catalogue", "A user"), a.getUser)
	register(a, operation("putUser", http.MethodPut, "/v1/users/{id}", "catalogue", "Add or replace a user"), a.putUser)
	register(a, operation("deleteUser", http.MethodDelete, "/v1/users/{id}", "catalogue",
		"Remove what is known of a user everywhere"), a.deleteUser)
	register(a, operation("postUsers", http.MethodPost, "/v1/users", "catalogue", "Add or replace many users"), a.postUsers)
}

func operation(id, method, path, tag, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary}
}

// accepted is an operation that only begins what it was asked for.
func accepted(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusAccepted
	return op
}

// publish serves the OpenAPI document.
func (a *API) publish(mux *http.ServeMux) error {
	if err := a.complete(); err != nil {
		return err
	}
	document, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return errors.Join(errors.New("write the OpenAPI document"), err)
	}
	mux.Handle("GET /openapi.json", strict.NoQuery(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document) // a client that has gone needs no document
	})))
	return nil
}

// HTTP gives a handler the request itself, for a body that it reads its own
// way.
type HTTP struct {
	request *http.Request
	writer  http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (h *HTTP) Resolve(ctx huma.Context) []error {
	h.request, h.writer = humago.Unwrap(ctx)
	return nil
}

// takeYourTime lifts the server's time limits for this request.
func (h *HTTP) takeYourTime() {
	c := http.NewResponseController(h.writer)
	// A writer without deadlines, as in tests, has none to lift.
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Time{})
}

// readJSON reads a body that is one JSON object.
func (a *API) readJSON(h HTTP, to any) error {
	body, err := a.intake.Read(h.request)
	if err != nil {
		return err
	}
	defer body.Release()
	return strict.JSON(body.Bytes, to)
}
