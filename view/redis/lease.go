package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/event"
)

var (
	// ErrFenced is the error of a writer under whose prefix another one writes.
	ErrFenced = errors.New("another engine writes to redis under the same prefix")
	// ErrLost is the error of a Redis that has lost what was written to it.
	ErrLost = errors.New("redis has lost what was written to it")
)

// LeaseTime is how long an owner that is not heard of keeps others away.
const LeaseTime = 10 * time.Second

// Phase says what readers may expect of the answers.
type Phase string

// The phases.
const (
	// Building: answers are missing that there will be.
	Building Phase = "building"
	// Refreshing: all answers are there, but some may be older than the block.
	Refreshing Phase = "refreshing"
	// Live: all answers are as of the block, or newer.
	Live Phase = "live"
)

// State is how far the owner of a prefix has come.
type State struct {
	Phase      Phase
	Epoch      uint64
	Block      uint64
	Shared     uint64 // the block up to which answers that all users share stand
	StreamTime event.Time
	Watermark  event.Time
	Heard      int64  // changes whenever the owner is heard of
	Changes    uint64 // changes of the catalogue that were passed on
	Host       string // where the owner runs
}

// fields are the fields of a state that a reader reads, in this order.
var fields = []string{"format", "phase", "epoch", "block", "stream_time", "watermark", "heard", "changes", "host", "shared_block"}

// stateFormat is the version of the state's form.
const stateFormat = "1"

// KeysFigure is the figure that says how many keys a view has.
func KeysFigure(name string) string { return "keys:" + name }

// NoPositions is the figure that is 1 where the owner never tells positions, so
// that nobody waits for them.
const NoPositions = "no_positions"

// parseState reads the fields; false means that there is no state.
func parseState(values []any) (State, bool, error) {
	text := make([]string, len(fields))
	for i, v := range values {
		text[i], _ = v.(string)
	}
	if text[0] == "" {
		return State{}, false, nil
	}
	if text[0] != stateFormat {
		return State{}, false, fmt.Errorf("%w: its format is %.16q, this release reads %s", ErrCorrupt, text[0], stateFormat)
	}
	s := State{Phase: Phase(text[1]), StreamTime: event.MinTime, Watermark: event.MinTime, Host: text[8]}
	s.Epoch, _ = strconv.ParseUint(text[2], 10, 64)
	s.Block, _ = strconv.ParseUint(text[3], 10, 64)
	if n, err := strconv.ParseInt(text[4], 10, 64); err == nil {
		s.StreamTime = event.Time(n)
	}
	if n, err := strconv.ParseInt(text[5], 10, 64); err == nil {
		s.Watermark = event.Time(n)
	}
	s.Heard, _ = strconv.ParseInt(text[6], 10, 64)
	s.Changes, _ = strconv.ParseUint(text[7], 10, 64)
	s.Shared, _ = strconv.ParseUint(text[9], 10, 64)
	return s, true, nil
}

// Lease is the right to write under the prefix, until another owner takes it.
// One goroutine uses it.
type Lease struct {
	client *Client
	token  string
	epoch  uint64
	runs   map[string]bool
	marks  []string // keys; none but in a cluster
}

// Owner is who asks for a lease.
type Owner struct {
	// ID is the same at every start of what writes: of one data directory, or
	// one job.
	ID string
	// Host is told to those who ask who writes.
	Host string
	// Again says that this process had the lease and lost it to another: even
	// one with the same ID is waited for then, as it may be a copy.
	Again bool
}

// Claim takes the lease and begins an epoch. existed says that something was
// written before under the prefix, and that no node has lost it as far as can
// be seen. The error is
// ErrFenced while another owner is heard of.
func (c *Client) Claim(ctx context.Context, o Owner) (l *Lease, existed bool, err error) {
	l = &Lease{client: c, token: rand.Text()}
	if c.config.Cluster {
		l.marks = c.markKeys()
	}
	existed, err = l.Renew(ctx, o)
	return l, existed, err
}

// Renew begins another epoch of a lease that is held, or was until Redis lost
// it. existed is as for Claim.
func (l *Lease) Renew(ctx context.Context, o Owner) (existed bool, err error) {
	if err := l.client.loadScripts(ctx); err != nil {
		return false, err
	}
	whole := l.checkMarks(ctx) == nil
	existed, err = l.begin(ctx, o)
	return existed && whole, err
}

func (l *Lease) begin(ctx context.Context, o Owner) (existed bool, err error) {
	again := "1"
	if o.Again {
		again = "0"
	}
	least := max(l.epoch+1, uint64(time.Now().UnixMilli())) // larger than any before, also if Redis has lost those
	answer, err := claimScript.EvalSha(ctx, l.client.redis, []string{l.client.stateKey()},
		o.ID, l.token, o.Host, LeaseTime.Milliseconds(), least, again).Slice()
	if err != nil {
		return false, unreachable(err)
	}
	if answer[0] != int64(1) {
		return false, fmt.Errorf("%w %q: the engine of %v on %v, heard of %v ms ago", ErrFenced, l.client.prefix, answer[1], answer[2], answer[3])
	}
	text, _ := answer[1].(string)
	if l.epoch, err = strconv.ParseUint(text, 10, 64); err != nil {
		return false, fmt.Errorf("%w: epoch: %w", ErrCorrupt, err)
	}
	if l.runs, err = l.client.runs(ctx); err != nil {
		return false, err
	}
	return answer[2] == int64(1), l.setMarks(ctx)
}

// setMarks leaves a mark in every stretch of the slots.
func (l *Lease) setMarks(ctx context.Context) error {
	return l.client.trip(ctx, func(p redis.Pipeliner) {
		for _, key := range l.marks {
			p.Set(ctx, key, l.epoch, 0)
		}
	})
}

// checkMarks is an ErrLost if a mark has gone.
func (l *Lease) checkMarks(ctx context.Context) error {
	var counts []*redis.IntCmd
	err := l.client.trip(ctx, func(p redis.Pipeliner) {
		counts = counts[:0]
		for _, key := range l.marks {
			counts = append(counts, p.Exists(ctx, key))
		}
	})
	for _, n := range counts {
		if err == nil && n.Val() == 0 {
			return fmt.Errorf("%w: a node of the cluster is empty", ErrLost)
		}
	}
	return err
}

// Release lets another owner take the lease at once. What readers know of the
// owner stays as it is.
func (l *Lease) Release(ctx context.Context) error {
	return l.client.trip(ctx, func(p redis.Pipeliner) {
		releaseScript.EvalSha(ctx, p, []string{l.client.stateKey()}, l.token)
	})
}

// Epoch is the present one.
func (l *Lease) Epoch() uint64 { return l.epoch }

// Check looks whether Redis still has what was written to it: an ErrLost if a
// node was started again or has taken another's place, or if it was flushed.
func (l *Lease) Check(ctx context.Context) error {
	if err := l.client.checkRuns(ctx, l.runs); err != nil {
		return err
	}
	return l.checkMarks(ctx)
}

// Advance is what an owner has to tell readers.
type Advance struct {
	Phase Phase
	// Stands says that Block, StreamTime and Positions hold: everything up to
	// them is written. Otherwise readers keep to what they were told before.
	Stands bool
	// Shared says that this is so of answers that all users share too, which may
	// come later.
	Shared     bool
	Block      uint64
	StreamTime event.Time
	// Raised leaves the stream time to Writer.RaiseStreamTime.
	Raised    bool
	Watermark event.Time
	Positions map[string]uint64 // those that have changed
	Changes   []event.Change
	// Figures are for people: fields of the state, with their values.
	Figures []any
}

// keptChanges is how many changes of the catalogue are kept for fronts that
// follow: who is further behind reads all of it.
const keptChanges = 20_000

// mostChanges is how many are passed on with one call.
const mostChanges = 500

// Advance tells readers how far the owner has come, and that it lives. The
// error is ErrFenced or ErrLost, or ErrUnreachable.
func (l *Lease) Advance(ctx context.Context, a *Advance) error {
	changes := a.Changes
	for len(changes) > mostChanges {
		part := Advance{Phase: a.Phase, Changes: changes[:mostChanges]}
		if err := l.advance(ctx, &part); err != nil {
			return err
		}
		changes = changes[mostChanges:]
	}
	last := *a
	last.Changes = changes
	return l.advance(ctx, &last)
}

func (l *Lease) advance(ctx context.Context, a *Advance) error {
	state := append([]any{"phase", string(a.Phase)}, a.Figures...)
	var positions []any
	if a.Stands {
		state = append(state, "block", a.Block, "watermark", int64(a.Watermark))
		if !a.Raised {
			state = append(state, "stream_time", int64(a.StreamTime))
		}
		if a.Shared {
			state = append(state, "shared_block", a.Block)
		}
		for source, next := range a.Positions {
			positions = append(positions, source, next)
		}
	}
	args := append([]any{l.token, l.client.config.longestTTL().Milliseconds(), keptChanges, len(state), len(positions), len(a.Changes)}, state...)
	args = append(args, positions...)
	for i := range a.Changes {
		args = append(args, event.AppendChange(nil, &a.Changes[i]))
	}
	keys := []string{l.client.stateKey(), l.client.positionsKey(), l.client.changesKey()}
	var answer *redis.Cmd
	err := l.client.trip(ctx, func(p redis.Pipeliner) { answer = advanceScript.EvalSha(ctx, p, keys, args...) })
	if err != nil {
		return err
	}
	switch n, _ := answer.Int64(); n {
	case 0:
		return fmt.Errorf("%w: it was emptied", ErrLost)
	case -1:
		return fmt.Errorf("%w %q", ErrFenced, l.client.prefix)
	}
	return nil
}
