package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"millrace/catalog/sqlstore"
	"millrace/cmd/millrace/checkpoints"
	"millrace/cmd/millrace/front"
	"millrace/cmd/millrace/kafkasource"
	"millrace/cmd/millrace/likes"
	"millrace/cmd/millrace/publishing"
	"millrace/cmd/millrace/savepoint"
	"millrace/cmd/millrace/sqldata"
	"millrace/cmd/millrace/tables"
	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/recommend"
	"millrace/serve"
	"millrace/serve/api"
	"millrace/state"
	"millrace/state/kind"
	"millrace/view"
	"millrace/view/memory"
)

// The parts of a data directory.
const (
	logFolder   = savepoint.LogFolder
	stateFolder = savepoint.StateFolder
	catalogFile = savepoint.CatalogFile
)

// node is the embedded system: the parts of one data directory, wired.
type node struct {
	log      *eventlog.Log
	appender *eventlog.Appender
	state    state.Backend
	views    view.Store
	mirror   *front.Mirrored // the views, if they are copied to Redis
	catalog  *sqlstore.Store
	engine   *embedded.Engine
	logger   *slog.Logger

	operators  recommend.Options
	publishing *publishing.Service // nil if nothing is published
	savepoints *savepoint.Service  // nil but in a server
	kafka      *kafkasource.Topics // nil but in a server that reads topics
	tables     *tables.Import      // nil but in a server that imports tables
	likes      *likes.Service      // nil but in a server that has it enabled
	undone     error               // why the state from before a restore was put back, nil if it was not

	ticks      chan struct{}  // asks for blocks without records
	redactions sync.WaitGroup // that began when the log had recovered
}

// openNode opens a data directory, recovers, and installs the configuration
// if it is another than the last one in the log.
func openNode(ctx context.Context, c config, logger *slog.Logger) (*node, error) {
	program, err := programConfig(c)
	if err != nil { // before anything is made
		return nil, err
	}
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	n := &node{ticks: make(chan struct{}, 1), operators: c.operators(), logger: logger}
	if err := n.open(ctx, c, program); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *node) open(ctx context.Context, c config, program []byte) (err error) {
	n.log, err = eventlog.Open(filepath.Join(c.Data, logFolder), eventlog.Options{FS: c.logFS, Logger: n.logger})
	if err != nil {
		return err
	}
	if err := savepoint.Finish(c.Data); err != nil {
		return fmt.Errorf("finish restoring a savepoint: %w", err)
	}
	err = n.openEngine(ctx, c)
	if err != nil && ctx.Err() == nil && savepoint.CanUndo(c.Data) {
		err = n.undoRestore(ctx, c, err)
	}
	if savepoint.CanRecover(err) {
		err = n.fallBack(ctx, c, err)
	}
	if err != nil {
		return err
	}
	if err := savepoint.Settled(c.Data); err != nil {
		return fmt.Errorf("remove damaged state: %w", err)
	}
	n.appender = eventlog.NewAppender(n.log, eventlog.AppenderOptions{
		MaxBlockEvents:  c.Ingest.MaxBlockEvents,
		MaxQueuedEvents: c.Ingest.MaxQueuedEvents,
		MaxQueuedBytes:  c.Ingest.MaxQueuedMiB << 20,
		Deliver:         n.engine.Deliver,
		Recovered:       n.recovered,
	})
	n.redactions.Go(n.keepTime)
	if err := n.configure(ctx, program); err != nil {
		return err
	}
	return n.resumeRedactions(ctx)
}

// undoRestore goes on from the state that a restore has replaced, as what was
// restored can not be opened.
func (n *node) undoRestore(ctx context.Context, c config, cause error) error {
	n.logger.Error("what was restored can not be gone on from; going on from the state before it", "error", message(cause))
	if err := n.closeEngine(); err != nil {
		n.logger.Debug("closing what was restored", "error", err)
	}
	if err := savepoint.Undo(c.Data); err != nil {
		return errors.Join(cause, err)
	}
	n.undone = cause
	return n.openEngine(ctx, c)
}

// fallBack goes on from a stored checkpoint, as the state is damaged.
func (n *node) fallBack(ctx context.Context, c config, cause error) error {
	store, err := savepoint.OpenStore(c.CheckpointStore, c.Data)
	if err != nil {
		return errors.Join(cause, err)
	}
	if err := n.closeEngine(); err != nil {
		n.logger.Debug("closing damaged state", "error", err)
	}
	r := savepoint.Recovery{Program: program(), Store: store, Data: c.Data, Log: n.log, Logger: n.logger}
	if _, err := r.Run(ctx, cause); err != nil {
		return err
	}
	return n.openEngine(ctx, c)
}

// openEngine opens the state, what is made of it, and the engine.
func (n *node) openEngine(ctx context.Context, c config) (err error) {
	if n.state, err = savepoint.OpenState(c.Data, c.State, n.log, n.logger); err != nil {
		return err
	}
	if c.wrapState != nil {
		n.state = c.wrapState(n.state)
	}
	journal, err := checkpoint.OpenJournal(filepath.Join(c.Data, checkpoints.JournalFile))
	if err != nil { // which is no reason not to start
		n.logger.Warn("there is no history of earlier checkpoints", "error", err)
	}
	if n.catalog, err = sqldata.Open(ctx, c.Catalog, c.Data); err != nil {
		return err
	}
	if n.publishing, err = publishing.Open(ctx, c.Publish, c.Kafka, n.log, n.logger); err != nil {
		return err
	}
	if err := n.openViews(c); err != nil {
		return err
	}
	n.engine, err = embedded.Open(embedded.Options{
		Build: buildProgram, Shards: c.Shards, Parallelism: c.Parallelism, Log: interruptible{ctx, n.log}, State: n.state, Views: n.views, Catalog: n.catalog,
		Tick: n.tick, Failures: embedded.Failures{Tries: c.OperatorTries, Skip: n.log.Skip, Record: c.failures}, Duplicates: duplicates(),
		Publications: n.publishing.Publications(), AllowNonRestoredState: c.allowNonRestored,
		Checkpoints: c.policy(), Journal: journal, PublishInterval: c.publishInterval, Logger: n.logger,
	})
	if errors.Is(err, state.ErrStageMissing) {
		err = fmt.Errorf("%w; millrace serve --allow-non-restored-state drops it", err)
	}
	return err
}

// openViews makes the views, which are copied to Redis if that is configured.
func (n *node) openViews(c config) (err error) {
	if !c.mirror || !c.Redis.Enabled() {
		n.views = memory.New()
		return nil
	}
	if n.mirror, err = front.OpenMirror(c.Redis, c.Data, n.logger); err == nil {
		n.views = n.mirror
	}
	return err
}

// interruptible is a log whose replay ends with ctx: a start that takes long can
// be stopped.
type interruptible struct {
	ctx context.Context
	log *eventlog.Log
}

// Scan scans as long as ctx allows.
func (i interruptible) Scan(from uint64, fn func(*eventlog.Block) error) error {
	return i.log.Scan(from, func(b *eventlog.Block) error {
		if err := i.ctx.Err(); err != nil {
			return err
		}
		return fn(b)
	})
}

// configure appends the configuration record to the log if it differs from the last.
func (n *node) configure(ctx context.Context, record []byte) error {
	if bytes.Equal(record, n.engine.Config()) {
		return nil
	}
	ticket, err := n.appender.Submit(eventlog.Batch{Kind: eventlog.Config, Payload: record, Count: 1})
	if err != nil {
		return fmt.Errorf("install configuration: %w", err)
	}
	if err := ticket.Err(); err != nil {
		return fmt.Errorf("install configuration: %w", err)
	}
	if err := n.engine.Wait(ctx, ticket.Block()); err != nil {
		return fmt.Errorf("install configuration: %w", err)
	}
	n.logger.Info("configuration installed", "block", ticket.Block())
	return nil
}

// tick asks for a block without records. It does not wait.
func (n *node) tick() {
	select {
	case n.ticks <- struct{}{}:
	default:
	}
}

// keepTime appends the blocks without records that are asked for. A log that
// takes nothing is asked again later.
func (n *node) keepTime() {
	for range n.ticks {
		if _, err := n.appender.Submit(eventlog.Batch{Kind: eventlog.Tick}); err != nil {
			n.logger.Debug("no block for processing time", "error", err)
		}
	}
}

// recovered is called when the log works again after a failure. It returns
// when everything that is stored is visible: only then is it known how far
// imports have got. Deletions that were stored but not acknowledged are
// redacted, as they are after a restart.
func (n *node) recovered(last uint64) {
	if err := n.engine.Wait(context.Background(), last); err != nil {
		return // the engine has said why it stopped
	}
	n.redactions.Go(func() {
		if err := n.resumeRedactions(context.Background()); err != nil {
			n.logger.Error("deleted users are not redacted yet; a restart does it", "error", err)
		}
	})
}

// resumeRedactions finishes the removal of deleted users from the log that a
// crash interrupted.
func (n *node) resumeRedactions(ctx context.Context) error {
	pending, err := eventlog.PendingRedactions(n.log)
	if err != nil {
		return err
	}
	for _, r := range pending {
		if err := n.Redact(ctx, r.User, r.Block); err != nil {
			return err
		}
	}
	return nil
}

// Redact removes a deleted user from the stored events, the dead letters and
// the stored state, and returns when nothing of it can be recovered. A
// checkpoint that has the deletion comes first: recovery from an older one
// would replay events that no longer bear the user's name over a state that
// does.
func (n *node) Redact(ctx context.Context, user string, deletion uint64) error {
	ctx = context.WithoutCancel(ctx) // a client that goes away does not stop it half way
	if err := n.engine.Checkpoint(ctx, deletion); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	if err := eventlog.Redact(n.log, user, deletion); err != nil {
		return err
	}
	if err := n.state.Compact(); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	if err := n.engine.WaitCatalog(ctx, deletion); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	if err := n.catalog.Erase(ctx); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	if err := n.likes.Forget(ctx, user); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	if n.savepoints != nil {
		n.savepoints.UserDeleted(deletion)
	}
	n.logger.Info("a deleted user's events were redacted", "block", deletion)
	return nil
}

// close stops the parts in the order of the flow, so that what was
// acknowledged is applied and checkpointed.
func (n *node) close() error {
	var errs []error
	began := time.Now()
	if n.kafka != nil {
		n.kafka.Close()
	}
	errs = append(errs, n.likes.Close(), n.tables.Close())
	if n.savepoints != nil {
		n.savepoints.Close()
	}
	if n.appender != nil {
		errs = append(errs, n.appender.Close())
	}
	errs = append(errs, n.closeEngine())
	close(n.ticks) // the engine was the only one that asks
	if n.log != nil {
		errs = append(errs, n.log.Close())
	}
	n.redactions.Wait()
	n.logger.Debug("closed", "took", time.Since(began))
	return errors.Join(errs...)
}

// closeEngine closes what openEngine has opened, also if it failed.
func (n *node) closeEngine() error {
	var errs []error
	if n.engine != nil {
		errs = append(errs, n.engine.Close())
	}
	errs = append(errs, n.publishing.Close())
	if n.views != nil {
		errs = append(errs, n.views.Close())
	}
	if n.catalog != nil {
		errs = append(errs, n.catalog.Close())
	}
	if n.state != nil {
		errs = append(errs, n.state.Close())
	}
	n.engine, n.publishing, n.views, n.mirror, n.catalog, n.state = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// program is what savepoints belong to.
func program() savepoint.Program {
	return savepoint.Program{Build: buildProgram, Duplicates: duplicates(), Release: version()}
}

// serveSavepoints lets the node's savepoints be made while it runs, and its
// checkpoints be copied.
func (n *node) serveSavepoints(c config) error {
	store, err := savepoint.OpenStore(c.CheckpointStore, c.Data)
	if err != nil {
		return fmt.Errorf("configuration: checkpoint_store: %w", err)
	}
	n.savepoints = savepoint.NewService(savepoint.ServiceOptions{
		Program: program(), Store: store, Data: c.Data, Retained: c.CheckpointsRetained,
		InMemory: c.State == kind.Memory, Restores: c.restores,
		Engine: n.engine, State: n.state, Log: n.log, Logger: n.logger,
	})
	return nil
}

// importTables begins to import a shop's own tables, if there are any.
func (n *node) importTables(c config, o *serve.Options) (err error) {
	n.tables, err = tables.Start(c.Import, tables.Node{
		Log: n.log, Appender: n.appender, Engine: n.engine, Catalog: n.catalog, Redact: n.Redact, Logger: n.logger,
	})
	if err == nil && n.tables != nil {
		o.Parts.Systems = append(o.Parts.Systems, api.System{Name: "import", Err: n.tables.Err})
	}
	return err
}

// serveLikes begins the likes service, if it is enabled, and says how that goes in
// health.
func (n *node) serveLikes(ctx context.Context, c config, o *serve.Options) (err error) {
	n.likes, err = likes.Start(ctx, c.Likes, likes.Parts{
		Database: c.Catalog, Data: c.Data, Brokers: c.Kafka.Config, Users: apiCatalog{n.catalog},
		Log: &likes.Log{Appender: n.appender, Engine: n.engine}, Logger: n.logger,
	})
	if err != nil || n.likes == nil {
		return err
	}
	o.Likes = n.likes.Handler
	o.Parts.Systems = append(o.Parts.Systems, api.System{Name: "likes", Err: n.likes.Err})
	return nil
}

// readTopics begins to read Kafka's topics, if there are any, and says how that
// goes in health and metrics.
func (n *node) readTopics(c config, o *serve.Options) (err error) {
	n.kafka, err = kafkasource.Start(c.Kafka, kafkasource.Node{Data: c.Data, Log: n.log, Appender: n.appender, Engine: n.engine, Redact: n.Redact, Logger: n.logger})
	if err != nil || n.kafka == nil {
		return err
	}
	o.Parts.Systems = append(o.Parts.Systems, api.System{Name: "kafka", Err: n.kafka.Err})
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return o.Registry.Register(n.kafka)
}

// report says in health and metrics how publishing goes.
func (n *node) report(o *serve.Options) error {
	if n.publishing == nil {
		return nil
	}
	o.Parts.Systems = append(o.Parts.Systems, api.System{Name: "publishing", Err: n.publishing.Err})
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return o.Registry.Register(n.publishing)
}

// newSavepoint is the command millrace savepoint.
func newSavepoint() *cobra.Command {
	return savepoint.New(savepoint.Wiring{Program: program(), CheckData: checkData, Settings: func(path string) (data, store string, err error) {
		c, err := loadConfig(path)
		return c.Data, c.CheckpointStore, err
	}})
}

// newCheckpoints is the command millrace checkpoints.
func newCheckpoints() *cobra.Command {
	return checkpoints.New(checkpoints.Wiring{Program: program(), CheckData: checkData, Settings: func(path string) (checkpoints.Settings, error) {
		c, err := loadConfig(path)
		return checkpoints.Settings{Data: c.Data, Store: c.CheckpointStore, Policy: c.policy()}, err
	}})
}
