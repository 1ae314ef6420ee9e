package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"millrace/cmd/millrace/client"
	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/serve/api"
	"millrace/source"
)

// local imports into a data directory that this process has opened.
type local struct {
	node     *node
	sent     []sent // not known to be durable yet, oldest first
	repeats  int
	rejected []eventlog.DeadLetter
}

// sent is a batch on its way.
type sent struct {
	ticket *eventlog.Ticket
	count  int
	events bool
}

const (
	// sentBatches is how many batches are on their way at most.
	sentBatches = 16
	// heldLetters is how many dead letters are stored together.
	heldLetters = 1000
)

func (l *local) position(_ context.Context, name string) (uint64, error) {
	row, _ := l.node.engine.Position(name)
	return row, nil
}

func (l *local) put(ctx context.Context, name string, b source.Batch) error {
	batch := eventlog.Batch{Kind: eventlog.Events, Payload: b.Payload, Count: b.Count}
	if b.Changes {
		batch.Kind = eventlog.Catalogue
	}
	if name != "" {
		batch.Positions = []eventlog.Position{{Source: name, Next: b.Row}}
	}
	ticket, err := eventlog.SubmitWhenRoom(ctx, l.node.appender, batch)
	if err != nil {
		return err
	}
	l.sent = append(l.sent, sent{ticket, b.Count, !b.Changes})
	return l.settle(ctx, sentBatches)
}

// settle waits until at most so many batches are on their way.
func (l *local) settle(ctx context.Context, most int) error {
	for len(l.sent) > most {
		s := l.sent[0]
		if err := s.ticket.Err(); err != nil {
			return err
		}
		if err := l.node.engine.Wait(ctx, s.ticket.Block()); err != nil {
			return err
		}
		if s.events {
			l.repeats += l.node.engine.Duplicates(s.ticket.Block(), s.ticket.First(), s.count)
		}
		l.sent = l.sent[1:]
	}
	return nil
}

func (l *local) reject(_ context.Context, bad *source.Bad) error {
	l.rejected = append(l.rejected, eventlog.DeadLetter{
		Time: event.FromGo(time.Now()), Raw: append([]byte(nil), bad.Raw...), Error: bad.Err.Error(),
	})
	if len(l.rejected) < heldLetters {
		return nil
	}
	return l.storeRejected()
}

func (l *local) storeRejected() error {
	list := l.rejected
	l.rejected = nil
	if len(list) == 0 {
		return nil
	}
	return l.node.log.AppendDeadLetters(list)
}

func (l *local) flush(ctx context.Context) (duplicates, rejected int, err error) {
	err = errors.Join(l.storeRejected(), l.settle(ctx, 0))
	return l.repeats, 0, err
}

func (l *local) late() uint64 { return l.node.engine.Stats().Late }

func (l *local) close() error { return l.node.close() }

// errServer is the error of a server that refused what was sent to it.
var errServer = errors.New("the server refused the request")

const (
	// remoteRetries is how often a request is sent again while the server is
	// overloaded or away; the events carry ids or a position, so a repeat is
	// not counted twice.
	remoteRetries = 60
	// remoteMaxAnswer bounds an answer that is read, in bytes.
	remoteMaxAnswer = 32 << 20
)

// remote imports into a running server, over its HTTP API.
type remote struct {
	server   *client.Server
	notices  io.Writer         // where it says that it waits for the server
	waits    bool              // since the last answer
	applied  bool              // what has no position is sent until it is visible
	at       map[string]uint64 // position of the last batch, by source
	repeats  int
	rejected int
}

func newRemote(address, key string, notices io.Writer) (*remote, error) {
	server, err := client.New(client.Options{Address: address, Flag: "--to", Key: key, MaxAnswer: remoteMaxAnswer})
	if err != nil {
		return nil, err
	}
	return &remote{server: server, notices: notices, at: map[string]uint64{}}, nil
}

func (r *remote) position(ctx context.Context, name string) (uint64, error) {
	var answer struct {
		Next uint64 `json:"next"`
	}
	status, err := r.do(ctx, http.MethodGet, "/v1/sources/"+url.PathEscape(name), nil, &answer)
	if status == http.StatusNotFound {
		return 0, nil
	}
	r.at[name] = answer.Next
	return answer.Next, err
}

func (r *remote) put(ctx context.Context, name string, b source.Batch) error {
	if b.Changes {
		return r.putChanges(ctx, b)
	}
	body, err := event.JSONLines(b.Payload, b.Count)
	if err != nil {
		return err
	}
	path := "/v1/events"
	if name != "" {
		path += "?source=" + url.QueryEscape(name) + "&position=" + strconv.FormatUint(b.Row, 10) +
			"&after=" + strconv.FormatUint(r.at[name], 10)
	} else if r.applied {
		path += "?wait=applied"
	}
	if err := r.post(ctx, path, body); err != nil {
		return err
	}
	r.at[name] = b.Row
	return nil
}

// putChanges sends the catalogue's items and users.
func (r *remote) putChanges(ctx context.Context, b source.Batch) error {
	var items, users []byte
	in := wire.NewReader(b.Payload)
	for range b.Count {
		c := event.ReadChange(in)
		if in.Err() != nil {
			return in.Err()
		}
		var line []byte
		var err error
		switch {
		case c.Item != nil:
			if line, err = json.Marshal(c.Item.JSON()); err == nil {
				items = append(append(items, line...), '\n')
			}
		case c.User != nil:
			if line, err = json.Marshal(c.User.JSON()); err == nil {
				users = append(append(users, line...), '\n')
			}
		}
		if err != nil {
			return err
		}
	}
	for path, body := range map[string][]byte{"/v1/items": items, "/v1/users": users} {
		if len(body) == 0 {
			continue
		}
		if err := r.post(ctx, path, body); err != nil {
			return err
		}
	}
	return nil
}

// post sends lines and counts what the server says of them.
func (r *remote) post(ctx context.Context, path string, body []byte) error {
	var answer struct {
		Duplicates int               `json:"duplicates"`
		Errors     []json.RawMessage `json:"errors"`
	}
	if _, err := r.do(ctx, http.MethodPost, path, body, &answer); err != nil {
		return err
	}
	r.repeats += answer.Duplicates
	r.rejected += len(answer.Errors)
	return nil
}

// reject sends a bad input and what is wrong with it: the server counts it and
// keeps it as a dead letter.
func (r *remote) reject(ctx context.Context, bad *source.Bad) error {
	body, err := json.Marshal(api.DeadLettersBody{Letters: []api.DeadLetterBody{{Raw: string(bad.Raw), Error: bad.Err.Error()}}})
	if err != nil {
		return err
	}
	_, err = r.do(ctx, http.MethodPost, "/v1/deadletters", body, nil)
	return err
}

func (r *remote) flush(context.Context) (duplicates, rejected int, err error) {
	return r.repeats, r.rejected, nil
}

func (r *remote) late() uint64 { return 0 } // the server's statistics tell

func (r *remote) close() error {
	r.server.Close()
	return nil
}

// do sends a request, again while the server is overloaded or away.
func (r *remote) do(ctx context.Context, method, path string, body []byte, answer any) (int, error) {
	for try := 0; ; try++ {
		status, err := r.once(ctx, method, path, body, answer)
		again := status == 0 || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
		if err == nil || !again || try == remoteRetries {
			r.waits = r.waits && err != nil
			return status, err
		}
		if !r.waits && ctx.Err() == nil {
			r.waits = true
			fmt.Fprintf(r.notices, "%v; trying again for a minute\n", err)
		}
		if err := source.Sleep(ctx, time.Duration(min(try+1, 10))*100*time.Millisecond); err != nil {
			return status, err
		}
	}
}

func (r *remote) once(ctx context.Context, method, path string, body []byte, answer any) (int, error) {
	status, err := r.server.Do(ctx, client.Request{Method: method, Path: path, Type: "application/x-ndjson", Body: body}, answer)
	var refused *client.Refusal
	if errors.As(err, &refused) {
		route, _, _ := strings.Cut(path, "?")
		err = fmt.Errorf("%s %s: %w: %s", method, route, errServer, refused.Says)
	}
	return status, err
}
