// Package forward passes requests on to the server that they are for: a front
// answers what reading views can answer, and an engine the rest.
package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"millrace/serve/problem"
)

// The limits of time.
const (
	dialTimeout   = 2 * time.Second
	answerTimeout = time.Minute // the engine itself waits for half of it at most
	probeTimeout  = 2 * time.Second
	// ProbeEvery is how often the engine is asked whether it works.
	ProbeEvery = 2 * time.Second
	// startTimeout is how long an engine may take that is started with the front.
	startTimeout = 15 * time.Second
)

// ErrEngine says that the engine can not be asked. Clients may be told its
// text.
var ErrEngine = errors.New("the engine does not answer")

// Engine is the server that requests are passed on to.
type Engine struct {
	address *url.URL
	key     string
	client  *http.Client
	log     *slog.Logger
	err     atomic.Pointer[error]
	began   time.Time
	logged  slog.Level // how bad it was said to be that it does not answer
	stop    context.CancelFunc
	done    chan struct{}
}

// New makes an Engine at an address and begins to look after it. The key, if
// there is one, is sent instead of the client's. It is closed after use.
func New(address, key string, log *slog.Logger) (*Engine, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &Engine{
		address: u, key: key, log: log, began: time.Now(), stop: stop, done: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			ResponseHeaderTimeout: answerTimeout, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		}},
	}
	go e.watch(ctx)
	return e, nil
}

// Close ends the looking after.
func (e *Engine) Close() {
	e.stop()
	<-e.done
	e.client.CloseIdleConnections()
}

// Err is an ErrEngine while the engine does not answer, or nil.
func (e *Engine) Err() error {
	if err := e.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (e *Engine) watch(ctx context.Context) {
	defer close(e.done)
	tick := time.NewTicker(ProbeEvery)
	defer tick.Stop()
	for {
		e.probe(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := e.health(ctx)
	before := e.Err()
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
	case err == nil:
		if e.err.Store(nil); before != nil {
			e.log.Info("the engine answers again")
		}
	default:
		e.err.Store(&ErrEngine)
		level, text := slog.LevelError, "requests can not be passed on to the engine"
		if time.Since(e.began) < startTimeout {
			level, text = slog.LevelWarn, text+" yet"
		}
		if before == nil || level > e.logged {
			e.logged = level
			e.log.Log(ctx, level, text, "engine", e.address.Redacted(), "error", err)
		}
	}
}

// health is what of the engine's health is of interest here.
type health struct {
	Blocks uint64 `json:"blocks"`
}

func (e *Engine) health(ctx context.Context) (health, error) {
	var h health
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.address.JoinPath("/v1/health").String(), nil)
	if err != nil {
		return h, fmt.Errorf("engine: %w", err)
	}
	answer, err := e.client.Do(r)
	if err != nil {
		return h, fmt.Errorf("%w: %w", ErrEngine, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &h)
	}
	if err != nil {
		return h, fmt.Errorf("%w: %s: %w", ErrEngine, answer.Status, err)
	}
	return h, nil
}

// Blocks is the last block of the engine's that is visible there.
func (e *Engine) Blocks(ctx context.Context) (uint64, error) {
	h, err := e.health(ctx)
	return h.Blocks, err
}

// Handler passes requests on. wait, if it is not nil, is called before a good
// answer is given back, and its error, whose text clients are told, is the
// answer then.
func (e *Engine) Handler(wait func(context.Context) error) http.Handler {
	p := &httputil.ReverseProxy{
		Rewrite: e.rewrite, Transport: e.client.Transport, FlushInterval: -1,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var told *waitError
			switch {
			case errors.As(err, &told):
				problem.New(http.StatusServiceUnavailable, "unavailable: %v", told.err).RetryAfter(time.Second).Write(w)
			case r.Context().Err() != nil: // nobody reads it
				problem.New(http.StatusServiceUnavailable, "the client has gone").Write(w)
			default:
				e.log.Debug("a request could not be passed on", "error", err)
				problem.New(http.StatusServiceUnavailable, "unavailable: %v, and this server only reads what it has computed", ErrEngine).RetryAfter(5 * time.Second).Write(w)
			}
		},
	}
	if wait != nil {
		p.ModifyResponse = func(r *http.Response) error {
			if r.StatusCode != http.StatusOK {
				return nil
			}
			if err := wait(r.Request.Context()); err != nil {
				return &waitError{err}
			}
			return nil
		}
	}
	return p
}

// waitError is the error of what was waited for after an answer.
type waitError struct{ err error }

// Error is why.
func (e *waitError) Error() string { return e.err.Error() }

// rewrite makes of a request that was checked here one of this server's own:
// the engine would check its host and its origin again.
func (e *Engine) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(e.address)
	r.Out.Host = e.address.Host
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Referer", "Cookie"} {
		r.Out.Header.Del(name)
	}
	if e.key != "" {
		r.Out.Header.Del("Authorization")
		r.Out.Header.Set("X-API-Key", e.key)
	}
}
