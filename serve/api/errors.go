package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"millrace/catalog"
	"millrace/serve/intake"
	"millrace/serve/problem"
	"millrace/view"
)

// The errors that the parts of the API return, wrapped with what was being
// done.
var (
	// ErrOverloaded says that there is no room for a batch at the moment.
	ErrOverloaded = errors.New("too much is waiting to be stored")
	// ErrUnavailable says that a part has failed or is closed: the log, the
	// engine, the database. Clients are told the text of the whole error, so it
	// holds no path and no address of the server's.
	ErrUnavailable = errors.New("unavailable")
	// ErrRetained says that what names a deleted user is kept elsewhere, where it is
	// for others to end: in topics.
	ErrRetained = errors.New("kept elsewhere")
	// ErrCursor is the error of a cursor that was not given out.
	ErrCursor = errors.New("unknown cursor")
	// ErrRecipe is the error of a recipe that there is none of.
	ErrRecipe = errors.New("unknown recipe")
	// ErrSavepointName is the error of a text that can not name a savepoint,
	// ErrSavepointUnknown that of a name that none has, and ErrSavepointConflict
	// that of one that is taken or is being worked on. Clients are told the text
	// of the whole error.
	ErrSavepointName     = errors.New("not a name of a savepoint")
	ErrSavepointUnknown  = errors.New("there is no such savepoint")
	ErrSavepointConflict = errors.New("this can not be done now")
	// ErrSavepointRefused is the error of a savepoint that can not be restored
	// here, and ErrRestoreUnknown that of an id that no restore has.
	ErrSavepointRefused = errors.New("this savepoint can not be restored here")
	ErrRestoreUnknown   = errors.New("there is no such restore")
)

// statusGone is the status that is logged for a client that went away before
// its answer, as nginx has it. Nobody reads it.
const statusGone = 499

// retryOverload is when to try again after a 429: a block takes milliseconds,
// and whole seconds are the least that Retry-After can say.
const retryOverload = time.Second

// answers is the one table that says how an error is answered; the first row
// that an error is counts. Anything else is a mistake of the server: 500.
var answers = []struct {
	is     error
	status int
	retry  time.Duration // with a Retry-After, unless it is 0
}{
	{intake.ErrTooLarge, http.StatusRequestEntityTooLarge, 0},
	{intake.ErrBusy, http.StatusTooManyRequests, retryOverload},
	{intake.ErrEncoding, http.StatusUnsupportedMediaType, 0},
	{intake.ErrSlow, http.StatusRequestTimeout, 0},
	{intake.ErrBroken, http.StatusBadRequest, 0},
	{ErrOverloaded, http.StatusTooManyRequests, retryOverload},
	{ErrUnavailable, http.StatusServiceUnavailable, 5 * time.Second},
	{view.ErrUnavailable, http.StatusServiceUnavailable, retryOverload},
	{ErrCursor, http.StatusBadRequest, 0}, // worded by its handler, as is the next
	{ErrRecipe, http.StatusBadRequest, 0},
	{ErrSavepointName, http.StatusBadRequest, 0},
	{ErrSavepointUnknown, http.StatusNotFound, 0},
	{ErrSavepointConflict, http.StatusConflict, 0},
	{ErrSavepointRefused, http.StatusConflict, 0},
	{ErrRestoreUnknown, http.StatusNotFound, 0},
	{catalog.ErrNotFound, http.StatusNotFound, 0},
	{catalog.ErrInvalid, http.StatusBadRequest, 0},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, retryOverload},
	{context.Canceled, statusGone, 0},
}

// toProblem is the problem that an error is answered with.
func toProblem(err error) *problem.Problem {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p
	}
	for _, a := range answers {
		if !errors.Is(err, a.is) {
			continue
		}
		p := problem.New(a.status, "%s", firstLine(err))
		if a.status == http.StatusUnsupportedMediaType {
			p = p.With("Accept-Encoding", "gzip")
		}
		if a.retry > 0 {
			p = p.RetryAfter(a.retry)
		}
		return p
	}
	return problem.New(http.StatusInternalServerError, "this should not have happened; the server's log says more")
}

// firstLine leaves out what comes after it, such as the stack of a panic.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
