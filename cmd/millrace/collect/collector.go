package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"millrace/event"
	"millrace/source"
	"millrace/source/line"
	"millrace/source/tail"
)

// Batch are events of a file, and how far it is read with them.
type Batch struct {
	Source  string
	Payload []byte // Count events, as event.AppendEvent writes them
	Count   int    // 0: there is only a position to store
	Next    uint64
}

// Letter is a line that should be an event and is none.
type Letter struct {
	Path   string
	Offset uint64 // where it begins in the file, in bytes
	Line   []byte // as it is, or how it begins
	Error  *event.FieldError
}

// Text says where the line is and what is wrong with it.
func (l *Letter) Text() string {
	where := fmt.Sprintf("%s, offset %d: ", l.Path, l.Offset)
	if l.Error.Field != "" {
		where += l.Error.Field + ": "
	}
	return where + "expected " + l.Error.Expected + ", got " + l.Error.Got
}

// ErrUnsure is the error of a batch of which it is not known whether it is
// stored: the position of its source says it.
var ErrUnsure = errors.New("the batch may be stored or not")

// Target is where lines are collected. Its methods wait while it does not work,
// until ctx ends; other errors are final. They may be called concurrently.
type Target interface {
	// Position is how far a source is stored, and whether anything is known of it.
	Position(ctx context.Context, source string) (next uint64, known bool, err error)
	// Put returns once the batch is durable; its error may be ErrUnsure.
	Put(ctx context.Context, b Batch) error
	// Reject stores lines that are bad.
	Reject(ctx context.Context, list []Letter) error
	// Err says why it does not work at present; nil if it does.
	Err() error
}

// Collector collects the lines of a configuration.
type Collector struct {
	target Target
	logger *slog.Logger
	groups []*group

	lines, events, ignored, bad atomic.Uint64
	failed                      atomic.Pointer[error] // why it has ended
}

// group is the files of one rule.
type group struct {
	follower *tail.Follower
	parser   *line.Parser
	maxLine  int
	payload  []byte
	letters  []Letter
}

// Stats are how many lines were collected since the start.
type Stats struct {
	Lines   uint64 `json:"lines"`
	Events  uint64 `json:"events"`
	Ignored uint64 `json:"ignored"` // that no rule is for, and blank ones
	Bad     uint64 `json:"bad"`
}

// New makes a Collector. It must be closed.
func New(c Config, types *event.Types, target Target, logger *slog.Logger) (*Collector, error) {
	out := &Collector{target: target, logger: logger}
	for i := range c.Files {
		f := &c.Files[i]
		parser, err := line.New(f.Config, types)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("collect: files[%d]: %w", i, err), out.Close())
		}
		follower, err := tail.New(tail.Options{
			Name: c.Name, Paths: f.Paths, Exclude: f.Exclude, Header: f.NeedsHeader(), FromEnd: f.Start == StartEnd, MaxLineBytes: f.MaxLineBytes,
			Poll: c.PollInterval, Position: target.Position, Logger: logger,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("collect: files[%d]: %w", i, err), out.Close())
		}
		maxLine := f.MaxLineBytes
		if maxLine == 0 {
			maxLine = tail.DefaultMaxLineBytes
		}
		out.groups = append(out.groups, &group{follower: follower, parser: parser, maxLine: maxLine})
	}
	return out, nil
}

// Close closes the files.
func (c *Collector) Close() error {
	for _, g := range c.groups {
		g.follower.Close()
	}
	return nil
}

// Stats are the figures so far.
func (c *Collector) Stats() Stats {
	return Stats{c.lines.Load(), c.events.Load(), c.ignored.Load(), c.bad.Load()}
}

// Run collects until ctx ends, or the target has a final error. With once it
// returns when all that is there now is collected.
func (c *Collector) Run(ctx context.Context, once bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	errs := make([]error, len(c.groups))
	for i, g := range c.groups {
		all.Go(func() {
			if errs[i] = c.collect(ctx, g, once); errs[i] != nil {
				stop()
			}
		})
	}
	if !once {
		all.Go(func() { c.report(ctx) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			c.failed.Store(&err)
			return err
		}
	}
	return nil
}

// reportEvery is how often what was collected is logged.
const reportEvery = time.Minute

// report logs what was collected, if anything was.
func (c *Collector) report(ctx context.Context) {
	for before := (Stats{}); source.Sleep(ctx, reportEvery) == nil; {
		if now := c.Stats(); now != before {
			c.logger.Info("collected so far", "lines", now.Lines, "events", now.Events, "ignored", now.Ignored, "bad", now.Bad)
			before = now
		}
	}
}

func (c *Collector) collect(ctx context.Context, g *group, once bool) error {
	next := g.follower.Next
	if once {
		next = g.follower.Try
	}
	for {
		l, err := next(ctx)
		if l == nil || err != nil {
			return err
		}
		if err := c.store(ctx, g, l); err != nil {
			return err
		}
	}
}

// store stores the events of some lines; first those that are none, so that
// none of them is lost. A crash between the two has them stored twice.
func (c *Collector) store(ctx context.Context, g *group, l *tail.Lines) error {
	b, stats := g.parse(l)
	if len(g.letters) > 0 {
		if err := c.target.Reject(ctx, g.letters); err != nil {
			return err
		}
	}
	err := c.target.Put(ctx, b)
	if errors.Is(err, ErrUnsure) {
		return g.follower.Rewind(ctx, l.Source)
	}
	if err != nil {
		return err
	}
	c.lines.Add(stats.Lines)
	c.events.Add(stats.Events)
	c.ignored.Add(stats.Ignored)
	c.bad.Add(stats.Bad)
	return nil
}

// parse makes a batch of lines, and letters of those that are bad.
func (g *group) parse(l *tail.Lines) (Batch, Stats) {
	now := event.FromGo(time.Now())
	b := Batch{Source: l.Source, Payload: g.payload[:0], Next: l.Next}
	g.letters = g.letters[:0]
	stats := Stats{Lines: uint64(len(l.Lines))}
	var e event.Event
	for _, text := range l.Lines {
		verdict, fault := line.Bad, (*event.FieldError)(nil)
		if text.Long {
			fault = event.Unexpected("", fmt.Sprintf("a line of at most %d bytes", g.maxLine), text.Text)
		} else {
			verdict, fault = g.parser.Parse(l.Header, text.Text, now, &e)
		}
		switch verdict {
		case line.Event:
			b.Payload = event.AppendEvent(b.Payload, &e)
			b.Count++
			stats.Events++
		case line.Ignored:
			stats.Ignored++
		case line.Bad:
			stats.Bad++
			g.letters = append(g.letters, Letter{Path: l.Path, Offset: text.Offset, Line: text.Text[:min(len(text.Text), source.MaxBadBytes)], Error: fault})
		}
	}
	g.payload = b.Payload
	return b, stats
}
