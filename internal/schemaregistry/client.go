package schemaregistry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"
)

// The errors of this package, for errors.Is.
var (
	// ErrUnavailable is the error of a registry that does not answer, or not
	// as one: nothing is known of the schema then, and asking again may help.
	ErrUnavailable = errors.New("the schema registry does not answer")
	// ErrUnknownSchema is the error of an id that the registry does not know.
	ErrUnknownSchema = errors.New("the schema registry does not know the schema")
	// ErrRefused is the error of a schema that the registry does not take.
	ErrRefused = errors.New("the schema registry refused the schema")
)

// The bounds of what a registry may answer.
const (
	maxAnswerBytes = 4 << 20
	maxReferences  = 200 // of one schema, with all that they refer to
	maxRemembered  = 10_000
	unknownTries   = 3 // before an id counts as unknown for the first time
	unknownPause   = 200 * time.Millisecond
	firstUnknown   = time.Second // then it is not asked for
	longestUnknown = 5 * time.Minute
	firstPause     = 100 * time.Millisecond // before a registry that is away is asked again
	longestPause   = 5 * time.Second
	complainEvery  = time.Minute
)

// Schema is what the registry has under an id. It never changes.
type Schema struct {
	ID   int
	Type sr.SchemaType
	Text string
	// References are the schemas that the text refers to, and those that they
	// refer to, each before those that refer to it.
	References []Reference
}

// Reference is a schema that others refer to by a name.
type Reference struct{ Name, Text string }

// Client asks one registry. Its methods may be called concurrently.
type Client struct {
	registry *sr.Client
	http     *http.Transport
	logger   *slog.Logger
	asking   singleflight.Group

	mu      sync.Mutex
	known   map[int]*Schema
	unknown map[int]unknown
	failure error     // why the registry does not answer, nil if it does
	told    time.Time // when that was last logged
}

// unknown is an id that the registry did not know.
type unknown struct {
	until time.Time     // it is not asked for
	pause time.Duration // the last one
}

// New makes a client. It does not ask the registry anything.
func New(c Config, logger *slog.Logger) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	secured, err := c.tls()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secured
	options := []sr.ClientOpt{
		sr.URLs(c.URLs...), sr.UserAgent("millrace"), sr.HTTPClient(&http.Client{Timeout: c.Timeout, Transport: bounded{transport}}),
	}
	if c.User != "" {
		options = append(options, sr.BasicAuth(c.User, c.Password))
	}
	if c.Token != "" {
		options = append(options, sr.BearerToken(c.Token))
	}
	registry, err := sr.NewClient(options...)
	if err != nil {
		return nil, err
	}
	return &Client{registry: registry, http: transport, logger: logger, known: map[int]*Schema{}, unknown: map[int]unknown{}}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Err is nil while the registry answers, or has not been asked, and else why
// it is waited for.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// bounded cuts off answers that are too long to be schemas.
type bounded struct{ http.RoundTripper }

// RoundTrip sends a request; reading its answer fails beyond maxAnswerBytes.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = &limited{answer.Body, maxAnswerBytes}
	}
	return answer, err
}

type limited struct {
	io.ReadCloser
	left int
}

var errTooLong = fmt.Errorf("its answer is longer than %d bytes", maxAnswerBytes)

// Read fails with errTooLong when the limit is used up.
func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// Schema is the schema with an id. While the registry does not answer it waits,
// until ctx ends, and says so in the log. The error is then that of ctx, or
// ErrUnknownSchema.
func (c *Client) Schema(ctx context.Context, id int) (*Schema, error) {
	if s, err, decided := c.remembered(id); decided {
		return s, err
	}
	answer := c.asking.DoChan(strconv.Itoa(id), func() (any, error) {
		return c.ask(ctx, id)
	})
	select {
	case r := <-answer:
		s, _ := r.Val.(*Schema)
		if r.Shared && r.Err != nil && ctx.Err() == nil && isEnd(r.Err) {
			return c.Schema(ctx, id) // it was another's ctx that ended
		}
		return s, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// remembered is what is known without asking, if that decides it.
func (c *Client) remembered(id int) (s *Schema, err error, decided bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.known[id]; s != nil {
		return s, nil, true
	}
	if u, ok := c.unknown[id]; ok && time.Now().Before(u.until) {
		return nil, unknownError(id), true
	}
	return nil, nil, false
}

func unknownError(id int) error { return fmt.Errorf("%w with id %d", ErrUnknownSchema, id) }

// ask asks until there is an answer. An id that was never asked for is asked
// for a few times, as a registry of several servers may be behind itself.
func (c *Client) ask(ctx context.Context, id int) (*Schema, error) {
	c.mu.Lock()
	before, askedBefore := c.unknown[id]
	c.mu.Unlock()
	tries := 0
	for {
		s, err := c.fetch(ctx, id)
		if !errors.Is(err, ErrUnknownSchema) {
			return s, err
		}
		if tries++; askedBefore || tries == unknownTries {
			break
		}
		if err := sleep(ctx, unknownPause); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unknown) >= maxRemembered {
		clear(c.unknown)
	}
	pause := min(max(2*before.pause, firstUnknown), longestUnknown)
	c.unknown[id] = unknown{time.Now().Add(pause), pause}
	return nil, unknownError(id)
}

// fetch asks once for a schema and for those that it refers to, waiting for a
// registry that does not answer.
func (c *Client) fetch(ctx context.Context, id int) (*Schema, error) {
	answer, err := wait(ctx, c, func(ctx context.Context) (sr.Schema, error) {
		s, err := c.registry.SchemaByID(ctx, id)
		return s, orEmpty(s, err)
	})
	if isUnknown(err) {
		return nil, unknownError(id)
	}
	if err != nil {
		return nil, err
	}
	s := &Schema{ID: id, Type: answer.Type, Text: answer.Schema}
	if err := c.follow(ctx, s, answer.References, map[sr.SchemaReference]bool{}); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxRemembered {
		clear(c.known)
	}
	c.known[id] = s
	delete(c.unknown, id)
	return s, nil
}

// follow adds what a schema refers to.
func (c *Client) follow(ctx context.Context, s *Schema, to []sr.SchemaReference, seen map[sr.SchemaReference]bool) error {
	for _, r := range to {
		if seen[r] {
			continue
		}
		if seen[r] = true; len(seen) > maxReferences {
			return fmt.Errorf("%w with id %d: it refers to more than %d others", ErrUnknownSchema, s.ID, maxReferences)
		}
		answer, err := wait(ctx, c, func(ctx context.Context) (sr.SubjectSchema, error) {
			s, err := c.registry.SchemaByVersion(ctx, r.Subject, r.Version)
			return s, orEmpty(s.Schema, err)
		})
		if isUnknown(err) {
			return fmt.Errorf("%w with id %d: it refers to version %d of subject %q, which is not there", ErrUnknownSchema, s.ID, r.Version, r.Subject)
		}
		if err != nil {
			return err
		}
		if err := c.follow(ctx, s, answer.References, seen); err != nil {
			return err
		}
		s.References = append(s.References, Reference{r.Name, answer.Schema.Schema})
	}
	return nil
}

var errEmpty = errors.New("its answer has no schema; is the address that of a registry?")

// orEmpty is err, or errEmpty if there is no schema: what else answers in JSON is
// not to make dead letters of all messages.
func orEmpty(s sr.Schema, err error) error {
	if err == nil && s.Schema == "" {
		return errEmpty
	}
	return err
}

// isUnknown says whether the registry answered that there is no such schema:
// as a registry would, not as any other server.
func isUnknown(err error) bool {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.ErrorCode {
	case sr.ErrSubjectNotFound.Code, sr.ErrVersionNotFound.Code, sr.ErrSchemaNotFound.Code:
		return true
	}
	return false
}

// Register registers the schema of what is published under a subject, unless
// it is there already, and returns its id. It waits as Schema does; the error
// is ErrRefused if the registry does not take the schema.
func (c *Client) Register(ctx context.Context, subject string, s sr.Schema) (id int, err error) {
	id, err = wait(ctx, c, func(ctx context.Context) (int, error) { return c.registry.RegisterSchema(ctx, subject, s, -1, -1) })
	var answer *sr.ResponseError
	if errors.As(err, &answer) {
		return 0, fmt.Errorf("%w of subject %q: %s", ErrRefused, subject, answer.Message)
	}
	return id, err
}

// Check asks the registry once for something, whatever it is: the error is
// ErrUnavailable, with what is wrong.
func (c *Client) Check(ctx context.Context) error {
	if _, err := c.registry.Subjects(sr.WithParams(ctx, sr.Limit(1))); err != nil {
		return diagnose(err)
	}
	return nil
}

// wait asks until the registry answers, or ctx ends. That a schema is unknown
// or refused is an answer.
func wait[T any](ctx context.Context, c *Client, ask func(context.Context) (T, error)) (T, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		answer, err := ask(ctx)
		if err == nil || isAnswer(err) {
			c.answered()
			return answer, err
		}
		if ctx.Err() != nil {
			return answer, ctx.Err()
		}
		c.complain(diagnose(err))
		if err := sleep(ctx, pause); err != nil {
			return answer, err
		}
	}
}

// isAnswer says whether asking again for the same can not help.
func isAnswer(err error) bool {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.StatusCode {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	}
	return isUnknown(err)
}

// diagnose says in words why there is no answer, and what to do.
func diagnose(err error) error {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s wants other credentials (%d); set user and password, or token", ErrUnavailable, answer.URL, answer.StatusCode)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %s answers 404, but not as a registry does; is the address that of a registry?", ErrUnavailable, answer.URL)
	}
	return fmt.Errorf("%w: %s answers %d: %.200s", ErrUnavailable, answer.URL, answer.StatusCode, answer.Message)
}

// complain notes that the registry does not answer, and logs it now and then.
func (c *Client) complain(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
	if now := time.Now(); now.Sub(c.told) >= complainEvery {
		c.told = now
		c.logger.Warn("waiting for the schema registry; messages are not read until it answers", "error", err)
	}
}

// answered notes that the registry answers.
func (c *Client) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		c.logger.Info("the schema registry answers again")
	}
	c.failure, c.told = nil, time.Time{}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
