// Package likes is the likes service: people like, read, favour and comment
// contents. The answer is a code and a message, as clients of such services
// know them.
package likes

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"millrace/catalog"
	"millrace/event"
	"millrace/outbox"
)

// The codes of answers.
const (
	CodeDone        = 0    // it is stored, now or before
	CodeUnknownUser = 1000 // there is no such user
	CodeFailed      = 1001 // it could not be stored: try again
	CodeError       = 2000 // the request can not be understood
)

// Answer is the body of every answer.
type Answer struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

// messages of what was done, and of what was not.
var messages = map[outbox.Kind][2]string{
	outbox.Likes:     {"点赞成功", "点赞失败"},
	outbox.Reads:     {"阅读成功", "阅读失败"},
	outbox.Favorites: {"收藏成功", "收藏失败"},
	outbox.Comments:  {"评论成功", "评论失败"},
}

const (
	messageUnknownUser = "用户名不存在"
	messageError       = "error"
)

// Store keeps reactions.
type Store interface {
	// Put stores a reaction; see outbox.Store.
	Put(ctx context.Context, r outbox.Reaction) (fresh bool, err error)
}

// Users is where it is looked whether a user exists.
type Users interface {
	// User is the user of that id, or an error that wraps catalog.ErrNotFound.
	User(ctx context.Context, id string) (*event.User, error)
}

// Options are what the service is made of.
type Options struct {
	Store Store
	Users Users
	// Timeout bounds a request, 0 for DefaultTimeout.
	Timeout time.Duration
	Now     func() time.Time // nil for the wall clock
	Logger  *slog.Logger     // takes why a request failed; nil drops it
}

// DefaultTimeout is how long a request may take.
const DefaultTimeout = 5 * time.Second

// maxBody is the largest request.
const maxBody = 64 << 10

// Handler answers POST /recommendation/{kind}.
type Handler struct{ o Options }

// Routes are the routes that a Handler answers.
func Routes() []string {
	var list []string
	for _, kind := range outbox.Kinds() {
		list = append(list, "POST /recommendation/"+string(kind))
	}
	return list
}

// New makes the service.
func New(o Options) *Handler {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{o}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(h.answer(w, r))
	if err != nil {
		panic(err) // a number and a text
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(body) // to a client that may have gone
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request) Answer {
	kind := outbox.Kind(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	text, known := messages[kind]
	if !known {
		return Answer{CodeError, messageError}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	reaction, err := parse(r)
	reaction.Kind, reaction.Time = kind, event.FromGo(h.o.Now())
	if err == nil {
		err = reaction.Check()
	}
	if err != nil {
		h.o.Logger.Debug("a reaction was not understood", "kind", kind, "error", err)
		return Answer{CodeError, messageError}
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.o.Timeout)
	defer cancel()
	switch _, err := h.o.Users.User(ctx, reaction.User); {
	case errors.Is(err, catalog.ErrNotFound):
		return Answer{CodeUnknownUser, messageUnknownUser}
	case err != nil:
		h.o.Logger.Warn("a reaction was not stored, as its user could not be looked up", "kind", kind, "error", err)
		return Answer{CodeFailed, text[1]}
	}
	if _, err := h.o.Store.Put(ctx, reaction); err != nil {
		h.o.Logger.Warn("a reaction was not stored", "kind", kind, "error", err)
		return Answer{CodeFailed, text[1]}
	}
	return Answer{CodeDone, text[0]}
}

// errRequest is the error of a request that can not be understood.
var errRequest = errors.New("the request can not be understood")

// parse reads a request, which is a JSON object or a form.
func parse(r *http.Request) (outbox.Reaction, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") != "" {
		return outbox.Reaction{}, fmt.Errorf("%w: Content-Type: %w", errRequest, err)
	}
	reaction, err := outbox.Reaction{}, error(nil)
	body := bufio.NewReader(r.Body)
	first, _ := body.Peek(1) // without one the body is empty, which parsing finds
	r.Body = io.NopCloser(body)
	switch {
	case kind == "multipart/form-data", kind == "application/x-www-form-urlencoded" && string(first) != "{":
		reaction, err = parseForm(r, kind)
	default:
		// Also JSON that is called a form, as by curl -d without a header.
		reaction, err = parseJSON(body)
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" && reaction.Key == "" {
		reaction.Key = key
	}
	return reaction, err
}

func parseForm(r *http.Request, kind string) (outbox.Reaction, error) {
	err := r.ParseForm()
	if kind == "multipart/form-data" {
		err = r.ParseMultipartForm(maxBody)
	}
	if err != nil {
		return outbox.Reaction{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	return outbox.Reaction{
		User: r.PostForm.Get("user_id"), Content: r.PostForm.Get("content_id"), Title: r.PostForm.Get("title"), Key: r.PostForm.Get("idempotency_key"),
	}, nil
}

// request is the JSON form. Other fields are let pass.
type request struct {
	User    id     `json:"user_id"`
	Content id     `json:"content_id"`
	Title   string `json:"title"`
	Key     string `json:"idempotency_key"`
}

// id is an id: the number 1 and the text "1" are the same.
type id string

// UnmarshalJSON reads a text or a whole number.
func (i *id) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte{'"'}) {
		var text string
		err := json.Unmarshal(b, &text)
		*i = id(text)
		return err
	}
	if string(b) == "null" {
		return nil
	}
	if strings.ContainsAny(string(b), ".eE[{tf") {
		return fmt.Errorf("%w: want an id, a text or a whole number, got %.40s", errRequest, b)
	}
	*i = id(b)
	return nil
}

func parseJSON(body io.Reader) (outbox.Reaction, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return outbox.Reaction{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	var q request
	if err := json.Unmarshal(text, &q); err != nil {
		return outbox.Reaction{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	return outbox.Reaction{User: string(q.User), Content: string(q.Content), Title: q.Title, Key: q.Key}, nil
}
