package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"millrace/catalog"
	"millrace/event"
	"millrace/serve/intake"
	"millrace/serve/problem"
	"millrace/serve/strict"
)

// ItemID is an item in a path.
type ItemID struct {
	ID string `path:"id" doc:"The item's id, percent-encoded; the number 1 and the text 1 are the same id." example:"1193"`
}

// UserID is a user in a path.
type UserID struct {
	ID string `path:"id" doc:"The user's id, percent-encoded; the number 1 and the text 1 are the same id." example:"42"`
}

// ItemInput is a request about an item, perhaps with a body.
type ItemInput struct {
	HTTP
	ItemID
}

// UserInput is a request about a user, perhaps with a body.
type UserInput struct {
	HTTP
	UserID
}

// ItemOutput is the answer with an item.
type ItemOutput struct{ Body event.ItemJSON }

// UserOutput is the answer with a user.
type UserOutput struct{ Body event.UserJSON }

// BulkInput is a request with many items or users.
type BulkInput struct{ HTTP }

// BulkOutput is the answer to many items or users.
type BulkOutput struct {
	Body struct {
		Accepted int                `json:"accepted" doc:"How many are in the catalogue now."`
		Errors   []event.FieldError `json:"errors" doc:"Those that were refused."`
	}
}

// ItemDeletion is the answer to the deletion of an item.
type ItemDeletion struct {
	Body struct {
		ItemID string `json:"item_id"`
		Block  uint64 `json:"block" doc:"The block of the log that holds the deletion."`
	}
}

// UserDeletion is the answer to the deletion of a user.
type UserDeletion struct {
	Body struct {
		UserID      string `json:"user_id"`
		Known       bool   `json:"known" doc:"Whether the catalogue knew the user. Everything was done all the same."`
		Block       uint64 `json:"block" doc:"The block of the log that holds the deletion: state, views and catalogue are without the user since."`
		LogRedacted bool   `json:"log_redacted" doc:"The user's stored events can not be read any more. False where they are in topics, which keep what they have for as long as their retention says."`
		DeadLetters bool   `json:"dead_letters_purged" doc:"The user's dead letters were dropped. False where they are in a topic."`
	}
}

func (a *API) getItem(_ context.Context, in *ItemInput) (*ItemOutput, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	item := a.parts.Index.Item(in.ID)
	if item == nil {
		return nil, unknown("item", in.ID)
	}
	return &ItemOutput{item.JSON()}, nil
}

func unknown(what, id string) error {
	return fmt.Errorf("%s %q: %w", what, id, catalog.ErrNotFound)
}

func (a *API) getUser(ctx context.Context, in *UserInput) (*UserOutput, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	user, err := a.user(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &UserOutput{user.JSON()}, nil
}

// user is a user of the catalogue. The index has those that something is
// known of, SQL also those that were only seen in events.
func (a *API) user(ctx context.Context, id string) (*event.User, error) {
	if user := a.parts.Index.User(id); user != nil {
		return user, nil
	}
	user, err := a.parts.Catalog.User(ctx, id)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return nil, unknown("user", id)
	case err != nil:
		return nil, fmt.Errorf("read the catalogue: %w", err)
	}
	return user, nil
}

func (a *API) putItem(ctx context.Context, in *ItemInput) (*ItemOutput, error) {
	body, err := a.oneRecord(in.HTTP, in.ID)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	item, bad := event.ParseItem(body.Bytes, in.ID)
	if bad != nil {
		return nil, badRecord(bad)
	}
	if _, err := a.change(ctx, a.putItems(item)...); err != nil {
		return nil, err
	}
	if stored := a.parts.Index.Item(item.ID); stored != nil { // unless it was deleted just now
		return &ItemOutput{stored.JSON()}, nil
	}
	return &ItemOutput{item.JSON()}, nil
}

func (a *API) putUser(ctx context.Context, in *UserInput) (*UserOutput, error) {
	body, err := a.oneRecord(in.HTTP, in.ID)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	user, bad := event.ParseUser(body.Bytes, in.ID)
	if bad != nil {
		return nil, badRecord(bad)
	}
	if _, err := a.change(ctx, event.Change{Kind: event.PutUser, User: &user}); err != nil {
		return nil, err
	}
	return &UserOutput{user.JSON()}, nil
}

// oneRecord reads the body of a PUT.
func (a *API) oneRecord(h HTTP, id string) (*intake.Body, error) {
	if err := strict.CheckID("id", id); err != nil {
		return nil, err
	}
	return a.intake.Read(h.request)
}

// badRecord is the problem of a body that is one record, which has no index.
func badRecord(bad *event.FieldError) error {
	return problem.BadFields(problem.Field{Field: bad.Field, Expected: bad.Expected, Got: bad.Got})
}

// putItems are the changes that put items. One that is new and does not say
// when it was created was created now, in stream time.
func (a *API) putItems(items ...event.Item) []event.Change {
	s := a.parts.Views.Snapshot()
	defer s.Close()
	now := s.StreamTime()
	changes := make([]event.Change, len(items))
	for i := range items {
		item := &items[i]
		if item.Created == 0 && now != event.MinTime && a.parts.Index.Item(item.ID) == nil {
			item.Created = now
		}
		changes[i] = event.Change{Kind: event.PutItem, Item: item}
	}
	return changes
}

func (a *API) postItems(ctx context.Context, in *BulkInput) (*BulkOutput, error) {
	body, err := a.intake.Read(in.request)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	parsed := event.ParseItems(body.Bytes, in.request.Header.Get("Content-Type"), event.Options{})
	return a.bulk(ctx, a.putItems(parsed.Items...), parsed.Errors)
}

func (a *API) postUsers(ctx context.Context, in *BulkInput) (*BulkOutput, error) {
	body, err := a.intake.Read(in.request)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	parsed := event.ParseUsers(body.Bytes, in.request.Header.Get("Content-Type"), event.Options{})
	changes := make([]event.Change, len(parsed.Users))
	for i := range parsed.Users {
		changes[i] = event.Change{Kind: event.PutUser, User: &parsed.Users[i]}
	}
	return a.bulk(ctx, changes, parsed.Errors)
}

// bulk writes the good records of a request.
func (a *API) bulk(ctx context.Context, changes []event.Change, bad []event.FieldError) (*BulkOutput, error) {
	if len(changes) == 0 {
		return nil, allBad(bad)
	}
	if _, err := a.change(ctx, changes...); err != nil {
		return nil, err
	}
	out := &BulkOutput{}
	out.Body.Accepted, out.Body.Errors = len(changes), bad
	if bad == nil {
		out.Body.Errors = []event.FieldError{}
	}
	return out, nil
}

// change writes catalogue changes to the log and returns the number of their
// block once they are visible everywhere.
func (a *API) change(ctx context.Context, changes ...event.Change) (uint64, error) {
	if err := a.writable(); err != nil {
		return 0, err
	}
	var payload []byte
	for i := range changes {
		if err := catalog.Check(changes[i]); err != nil {
			return 0, err
		}
		payload = event.AppendChange(payload, &changes[i])
	}
	ctx, cancel := context.WithTimeout(ctx, a.parts.MaxWait)
	defer cancel()
	ticket, err := a.parts.Ingest.Submit(Batch{Kind: Changes, Payload: payload, Count: len(changes)})
	if err == nil {
		err = durable(ctx, ticket)
	}
	if err != nil {
		return 0, fmt.Errorf("store the change: %w", err)
	}
	if err := a.parts.Engine.WaitCatalog(ctx, ticket.Block()); err != nil {
		return 0, fmt.Errorf("the change is durable, but not yet visible: %w", err)
	}
	return ticket.Block(), nil
}

func (a *API) deleteItem(ctx context.Context, in *ItemInput) (*ItemDeletion, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	if a.parts.Index.Item(in.ID) == nil {
		return nil, unknown("item", in.ID)
	}
	block, err := a.change(ctx, event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: in.ID}})
	if err != nil {
		return nil, err
	}
	out := &ItemDeletion{}
	out.Body.ItemID, out.Body.Block = in.ID, block
	return out, nil
}

// deleteUser removes what is known of a person: from state, views and
// catalogue by a change that every replay sees too, then from the dead letters
// and from the stored events. A user of whom nothing is known is deleted all
// the same: the events may be in the log although their state has gone.
func (a *API) deleteUser(ctx context.Context, in *UserInput) (*UserDeletion, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	_, err := a.user(ctx, in.ID)
	known := err == nil
	if err != nil && toProblem(err).Status != http.StatusNotFound {
		return nil, err
	}
	in.takeYourTime()
	block, err := a.change(ctx, event.Change{Kind: event.DeleteUser, User: &event.User{ID: in.ID}})
	if err != nil {
		return nil, err
	}
	a.active.forget(in.ID)
	purged, redacted := true, true
	if err := a.parts.DeadLetters.Purge(in.ID); errors.Is(err, ErrRetained) {
		purged = false
	} else if err != nil {
		return nil, fmt.Errorf("the user is deleted, but not their dead letters; ask again: %w", err)
	}
	if err := a.parts.Redactor.Redact(ctx, in.ID, block); errors.Is(err, ErrRetained) {
		redacted = false
	} else if err != nil {
		return nil, fmt.Errorf("the user is deleted, but not redacted from the stored events; ask again: %w", err)
	}
	out := &UserDeletion{}
	out.Body.UserID, out.Body.Known, out.Body.Block = in.ID, known, block
	out.Body.LogRedacted, out.Body.DeadLetters = redacted, purged
	return out, nil
}
