package api

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"millrace/event"
	"millrace/serve/meter"
	"millrace/view"
)

// Parts is what the API is wired to. All of them may be called from any
// goroutine.
type Parts struct {
	Ingest      Ingest
	Engine      Engine
	Views       Views
	Catalog     Catalog
	Index       Index
	DeadLetters DeadLetters
	Redactor    Redactor
	Recommender Recommender
	Savepoints  Savepoints
	// Systems are those of others that the server works with.
	Systems []System

	// RepeatsUnknown says that the Engine can not tell which events were repeats:
	// nobody waits for that then, and duplicates are 0.
	RepeatsUnknown bool
	// Types are the event types that are accepted; nil means the defaults.
	Types func() *event.Types
	// ViewNames are the views whose sizes are reported.
	ViewNames []string
	// Now is the wall clock.
	Now func() time.Time
	// Version of the product, as health tells it.
	Version string
	// MaxBodyBytes bounds a request's body, 0 means DefaultMaxBodyBytes, and
	// MaxBodiesBytes all of those that are being worked on, 0 means
	// DefaultMaxBodiesBytes.
	MaxBodyBytes   int
	MaxBodiesBytes int64
	// MaxWait bounds the time that a request waits until what it sent is
	// durable or visible, 0 means DefaultMaxWait.
	MaxWait time.Duration
	// Meter counts; package serve sets it.
	Meter  *meter.Meter
	Logger *slog.Logger
}

// System is one that the server works with and that fails by itself.
type System struct {
	Name string
	// Err is nil while it works, or says in words that clients may read what does
	// not.
	Err func() error
}

func (p Parts) withDefaults() Parts {
	p.MaxBodyBytes = cmp.Or(p.MaxBodyBytes, DefaultMaxBodyBytes)
	p.MaxBodiesBytes = cmp.Or(p.MaxBodiesBytes, DefaultMaxBodiesBytes)
	p.MaxWait = cmp.Or(p.MaxWait, DefaultMaxWait)
	if p.Types == nil {
		p.Types = event.DefaultTypes
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Logger == nil {
		p.Logger = slog.New(slog.DiscardHandler)
	}
	return p
}

// The bounds on requests.
const (
	DefaultMaxBodyBytes   = 16 << 20
	DefaultMaxBodiesBytes = 96 << 20
	DefaultMaxWait        = 30 * time.Second
)

// Kind says what a batch holds.
type Kind uint8

// The kinds of batches.
const (
	Events  Kind = iota + 1 // records of event.AppendEvent
	Changes                 // records of event.AppendChange
)

// Batch is records that are to become durable together.
type Batch struct {
	Kind    Kind
	Payload []byte // the records, one after the other; copied by Submit
	Count   int    // how many they are
	// Source and Next say how far an import has got with this batch: Next is
	// the first record of the source that is in neither this batch nor one
	// before it. An empty Source means that it is none.
	Source string
	Next   uint64
}

// Ingest makes batches durable.
type Ingest interface {
	// Submit hands a batch over without waiting for it. Its errors are
	// ErrOverloaded, after which the same batch may be sent again later, and
	// ErrUnavailable.
	Submit(Batch) (Ticket, error)
	// Err is nil while batches are taken, or an ErrUnavailable.
	Err() error
}

// Ticket is a batch on its way.
type Ticket interface {
	// Done is closed when the batch is durable or has failed.
	Done() <-chan struct{}
	// Err is nil if the batch is durable, else an ErrUnavailable. Like Block
	// and First it may be called once Done is closed.
	Err() error
	// Block is the number of the block that holds the batch.
	Block() uint64
	// First is the position of the batch's first record in that block.
	First() int
}

// Engine is what computes the views.
type Engine interface {
	// Wait returns once a block is visible in the views, or with ctx's error,
	// or with an ErrUnavailable if that can not happen any more.
	Wait(ctx context.Context, block uint64) error
	// WaitCatalog is Wait for the changes of a block in the Catalog.
	WaitCatalog(ctx context.Context, block uint64) error
	// Duplicates is how many of count events, from position first of a block
	// that is visible, were ignored as repeats.
	Duplicates(block uint64, first, count int) int
	// Position is how far the import of a source has got; false where nothing
	// was ever imported from it.
	Position(source string) (next uint64, known bool)
	// Stats are the present figures.
	Stats() EngineStats
	// Checkpoints is what is known of checkpoints.
	Checkpoints() Checkpoints
	// Err is nil while the engine works, or says why it has stopped. The text
	// may name somebody: health does not tell it.
	Err() error
	// CheckpointErr and CatalogErr are nil, or ErrUnavailable while checkpoints
	// can not be stored and while catalogue changes do not reach the Catalog.
	CheckpointErr() error
	CatalogErr() error
}

// EngineStats is what the engine knows of itself at one moment.
type EngineStats struct {
	Block      uint64 // the last one that is visible
	Events     uint64 // that count, since the log began
	Duplicates uint64 // ignored as repeats, since the log began
	Late       uint64 // applied after the watermark had passed them, since the start
	StreamTime event.Time
	Watermark  event.Time
	Shards     int
	Queued     int            // blocks that wait
	Keys       map[string]int // by stage
	// Failures are how often an operator has failed since the start, by stage,
	// and Skipped how many events were given up for it.
	Failures map[string]uint64
	Skipped  uint64
}

// Checkpoints is what is known of checkpoints at one moment.
type Checkpoints struct {
	Policy CheckpointPolicy
	// History are the latest ones, oldest first, perhaps of earlier starts too.
	History []Checkpoint
	// Completed and Failed count since the start; of a failed one each try.
	Completed, Failed int
	// Of those in the History that succeeded.
	Duration, Stall Extent[time.Duration]
	Bytes           Extent[int64]
	// Of the History: the time from the end of one to the start of the next.
	Pause       Extent[time.Duration]
	InProgress  *CheckpointProgress // nil if none is
	LastFailure *CheckpointFailure  // nil if there was none
	Advice      []CheckpointAdvice  // the most urgent first
}

// Extent is the average, the least and the largest of some figure.
type Extent[T ~int64] struct{ Average, Min, Max T }

// CheckpointPolicy says when checkpoints are taken.
type CheckpointPolicy struct {
	Interval, MinPause, Timeout time.Duration // a Timeout of 0 is none
	Tolerated                   int           // failures in a row; negative means any number
}

// The reasons why a checkpoint failed.
const (
	FailureTimeout = "timeout" // it took too long, but may have been stored later
	FailureStorage = "storage" // it could not be stored
)

// Checkpoint is one checkpoint that has finished, or is tried again.
type Checkpoint struct {
	Block      uint64        // it holds the state after this block
	Started    time.Time     // wall clock
	Duration   time.Duration // until it was durable
	Stall      time.Duration // the longest time that a block waited for it
	Bytes      int64         // written
	Keys       int           // of state that it holds
	TotalBytes int64         // that all state took afterwards, 0 if it is not known
	Failure    string        // empty, or one of the reasons above
	Failures   int           // tries that did not succeed
}

// CheckpointProgress is how far the checkpoint under way has got.
type CheckpointProgress struct {
	Block    uint64
	Started  time.Time
	Running  time.Duration
	Storing  bool // all is encoded
	Failures int  // tries that did not succeed
}

// CheckpointFailure is the last failure of a checkpoint.
type CheckpointFailure struct {
	Block   uint64
	Time    time.Time
	Failure string // FailureTimeout or FailureStorage
	Reason  string // in words, which clients read
}

// CheckpointAdvice is what one figure suggests.
type CheckpointAdvice struct {
	Level, Code      string
	Value, Threshold float64
	Unit             string
	Text             string
}

// Views are the answers kept ready. Snapshots that can fail have a method Err:
// see view.Err.
type Views interface {
	Snapshot() view.Snapshot
	Len(view string) int
}

// Catalog is the catalogue in SQL. The errors are catalog.ErrNotFound and
// ErrUnavailable.
type Catalog interface {
	User(ctx context.Context, id string) (*event.User, error)
}

// Index is the catalogue in memory; nil is what is not known.
type Index interface {
	Item(id string) *event.Item
	User(id string) *event.User
}

// DeadLetter is an input that was refused.
type DeadLetter struct {
	Time  event.Time // wall clock when it was refused
	Raw   []byte     // as it came, perhaps cut
	Error string     // what was expected and what came
}

// DeadLetters keeps refused input.
type DeadLetters interface {
	// Append stores letters durably; it copies what it keeps. The error is
	// ErrUnavailable.
	Append([]DeadLetter) error
	// List is at most n letters from a cursor on, oldest first, and the
	// cursor of what follows. An empty cursor is the beginning. A cursor that
	// was not given out is an ErrCursor.
	List(cursor string, n int) (letters []DeadLetter, next string, err error)
	// Count is how many are kept.
	Count() int
	// Purge drops the letters of a user; ErrRetained says that they are not this
	// system's to drop.
	Purge(user string) error
}

// Redactor takes a deleted user out of stored events.
type Redactor interface {
	// Redact makes the events of a user before a block unreadable for ever
	// and returns when that is durable. The error is ErrUnavailable, or
	// ErrRetained where they are not this system's to redact.
	Redact(ctx context.Context, user string, block uint64) error
}

// Savepoint is the state after one block, kept in an object store.
type Savepoint struct {
	ID     string
	Kind   string    // savepoint, or checkpoint for a copy of a periodic one
	State  string    // in_progress, completed or failed
	Reason string    // why it failed; clients read it
	Asked  time.Time // when this server was asked for it; zero if it was another one

	// The rest is known of one that is completed.
	Created    time.Time
	Block      uint64
	StreamTime event.Time // MinTime if there is none, as for the next
	Watermark  event.Time
	Events     uint64
	Release    string
	Files      int
	Bytes      int64
	Stages     []SavepointStage
	Config     []byte // JSON
}

// SavepointStage is what a savepoint holds of a stage.
type SavepointStage struct {
	Name    string
	Version uint8 // of the state's format
	Keys    uint64
	Bytes   uint64
}

// Restore is a savepoint being put in place of the server's own state.
type Restore struct {
	ID        string
	Savepoint string
	State     string // in_progress, completed or failed
	Reason    string // why it failed; clients read it
	Asked     time.Time
	Finished  time.Time // zero while it is in progress

	// The rest is known of one that is completed.
	Block    uint64   // of the savepoint
	Events   uint64   // in it
	Keys     uint64   // of its state
	Replayed uint64   // blocks of the log after it
	Lost     []string // stages whose state was dropped
}

// Savepoints keeps savepoints. The errors are ErrSavepointName,
// ErrSavepointUnknown, ErrSavepointConflict, ErrSavepointRefused,
// ErrRestoreUnknown and ErrUnavailable.
type Savepoints interface {
	// Create begins to make one of all that was acknowledged. An empty name
	// means one of its choice.
	Create(ctx context.Context, name string) (Savepoint, error)
	// List is all of them, oldest block first, and then those that are being
	// made or have failed.
	List(ctx context.Context) ([]Savepoint, error)
	// Get is one of them.
	Get(ctx context.Context, id string) (Savepoint, error)
	// Dispose removes one.
	Dispose(ctx context.Context, id string) error
	// Restore begins to put one in place of the state, after which the log is
	// replayed; the server starts again for it. State of stages that are not
	// there any more is dropped if that is allowed.
	Restore(ctx context.Context, id string, allowNonRestoredState bool) (Restore, error)
	// Restores are the latest of them, oldest first.
	Restores() []Restore
	// GetRestore is one of them.
	GetRestore(id string) (Restore, error)
}

// Request is a request for recommendations, for a user or for a session.
type Request struct {
	User        string   // empty for a session
	Session     []string // ids of items, the newest last
	N, Offset   int
	Category    string // empty for all
	ExcludeSeen bool
	Recipe      string // empty for the default
	Explain     bool
}

// Recommendation is one recommended item.
type Recommendation struct {
	Item, Title    string
	Score          float64
	Reason, Source string
	Time           event.Time         // of the event that is the reason, event.MinTime if there is none
	Explain        map[string]float64 // what the score is made of, if it was asked for
}

// Recommender ranks.
type Recommender interface {
	// Recommend ranks against one state of the views. A recipe that there is
	// none of is an ErrRecipe.
	Recommend(s view.Snapshot, q Request) ([]Recommendation, error)
}
