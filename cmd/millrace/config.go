package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/goccy/go-yaml"

	"millrace/catalog/database"
	"millrace/cmd/millrace/collect"
	"millrace/cmd/millrace/likes"
	"millrace/cmd/millrace/publishing"
	"millrace/cmd/millrace/savepoint"
	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend"
	"millrace/recommend/cohort"
	"millrace/recommend/rank"
	"millrace/source/kafka"
	"millrace/source/table"
	"millrace/state"
	"millrace/state/kind"
	"millrace/view/redis"
)

// config is everything that can be set: by the file given with --config,
// overridden by environment variables, overridden by flags.
type config struct {
	// Data is the directory that holds everything.
	Data string `yaml:"data" env:"MILLRACE_DATA"`
	// Listen is HOST:PORT. Other than loopback needs a key.
	Listen string `yaml:"listen" env:"MILLRACE_LISTEN"`
	// Keys are the API keys; none means that every request is allowed.
	Keys []string `yaml:"keys" env:"MILLRACE_KEYS"`
	// Shards is how many keys are folded in parallel, 0 for one a core.
	Shards int `yaml:"shards" env:"MILLRACE_SHARDS"`
	// Parallelism is over how many shards single stages are spread, by name.
	Parallelism map[string]int `yaml:"parallelism"`
	// CheckpointInterval is the least time between two checkpoints.
	CheckpointInterval time.Duration `yaml:"checkpoint_interval" env:"MILLRACE_CHECKPOINT_INTERVAL"`
	// CheckpointMinPause is the least time between the end of a checkpoint and
	// the start of the next.
	CheckpointMinPause time.Duration `yaml:"checkpoint_min_pause" env:"MILLRACE_CHECKPOINT_MIN_PAUSE"`
	// CheckpointTimeout is how long a checkpoint may take before it counts as
	// failed; 0 means for ever.
	CheckpointTimeout time.Duration `yaml:"checkpoint_timeout" env:"MILLRACE_CHECKPOINT_TIMEOUT"`
	// CheckpointToleratedFailures is how many tries in a row may fail before the
	// server stops; anyNumber means that it never does.
	CheckpointToleratedFailures int `yaml:"checkpoint_tolerated_failures" env:"MILLRACE_CHECKPOINT_TOLERATED_FAILURES"`
	// State is the state backend: pebble, file or memory.
	State string `yaml:"state" env:"MILLRACE_STATE"`
	// CheckpointStore is where savepoints, and copies of checkpoints, are kept: a
	// directory or s3://BUCKET/FOLDER; empty for the folder savepoints of Data.
	CheckpointStore string `yaml:"checkpoint_store" env:"MILLRACE_CHECKPOINT_STORE"`
	// CheckpointsRetained is how many copies of periodic checkpoints are kept
	// there; 0 means that none are made.
	CheckpointsRetained int `yaml:"checkpoints_retained" env:"MILLRACE_CHECKPOINTS_RETAINED"`
	// Watermark is the strategy: "bounded" by OutOfOrderness, or "dynamic": by
	// how late events have been of late, but at least OutOfOrderness, or
	// "punctuated": by events of the type Punctuation.
	Watermark string `yaml:"watermark" env:"MILLRACE_WATERMARK"`
	// Punctuation is the type of the events that are punctuation marks: nothing
	// older than such an event follows it. Only with the punctuated watermark.
	Punctuation string `yaml:"punctuation" env:"MILLRACE_PUNCTUATION"`
	// OutOfOrderness is how late an event may be in event time before it
	// counts as late.
	OutOfOrderness time.Duration `yaml:"out_of_orderness" env:"MILLRACE_OUT_OF_ORDERNESS"`
	// AssociationTime is what the association job's windows go by: "event", the
	// time that events have, or "processing", when they arrived.
	AssociationTime string `yaml:"association_time" env:"MILLRACE_ASSOCIATION_TIME"`
	// OperatorTries is how often an event is tried on which an operator fails,
	// before it is skipped and stored as a dead letter; 0 means that the server
	// stops until the operator is mended.
	OperatorTries int `yaml:"operator_tries" env:"MILLRACE_OPERATOR_TRIES"`
	// EventTypes are the accepted event types and their weights.
	EventTypes map[string]float64 `yaml:"event_types"`
	Ingest     ingestConfig       `yaml:"ingest"`
	// Catalog is where the catalogue is kept in SQL.
	Catalog database.Config `yaml:"catalog" envPrefix:"MILLRACE_CATALOG_"`
	// Import are a shop's own tables that the catalogue is kept like.
	Import table.Config `yaml:"import" envPrefix:"MILLRACE_IMPORT_"`
	// Likes is the likes service.
	Likes likes.Config `yaml:"likes"`
	// GCHeadroomMiB is how much garbage may gather between two collections of a
	// server, even if less than that is live; 0 leaves it to Go.
	GCHeadroomMiB int `yaml:"gc_headroom_mib" env:"MILLRACE_GC_HEADROOM_MIB"`
	// Recipes are named weights of the sources, for requests with recipe=NAME;
	// "default" replaces the default ones.
	Recipes map[string]rank.Weights `yaml:"recipes"`
	// Collect are the log files that are tailed.
	Collect collect.Config `yaml:"collect"`
	// Kafka are the brokers, and the topics that are read.
	Kafka kafka.Config `yaml:"kafka"`
	// CohortPreferences keeps what age bands and genders like ready, for
	// GET /v1/cohorts/{cohort}/preferences.
	CohortPreferences bool `yaml:"cohort_preferences" env:"MILLRACE_COHORT_PREFERENCES"`
	// Publish is which results go to Kafka, and how.
	Publish publishing.Config `yaml:"publish"`
	// Redis is where the views are copied to, and where fronts read them.
	Redis redis.Config `yaml:"redis"`

	// publishInterval is the engine's PublishInterval, set by the command.
	publishInterval time.Duration
	// failures counts those of operators, over the engines of a process.
	failures *embedded.FailureRecord
	// logFS is the file system of the event log, nil for the real one: tests
	// fill it up.
	logFS vfs.FS
	// allowNonRestored has the next start drop the state of stages that this
	// release does not have: of one start, so it is no setting of a file.
	allowNonRestored bool
	// restores are remembered while the server starts again; nil means that
	// runServer remembers them.
	restores *savepoint.Restores
	// mirror has the views copied to Redis: of a server's engine, and not of one
	// that is opened for something else.
	mirror bool
	// wrapState is put around the state backend: by tests, which make it fail.
	wrapState func(state.Backend) state.Backend
}

// ingestConfig bounds what waits to be written to the log.
type ingestConfig struct {
	MaxBlockEvents  int `yaml:"max_block_events" env:"MILLRACE_MAX_BLOCK_EVENTS"`
	MaxQueuedEvents int `yaml:"max_queued_events" env:"MILLRACE_MAX_QUEUED_EVENTS"`
	MaxQueuedMiB    int `yaml:"max_queued_mib" env:"MILLRACE_MAX_QUEUED_MIB"`
}

func defaultConfig() config {
	return config{
		Data:               "millrace-data",
		Listen:             "127.0.0.1:8080",
		CheckpointInterval: 10 * time.Second,
		State:              kind.Pebble,
		Watermark:          watermarkBounded,
		AssociationTime:    timeEvent,
		OperatorTries:      3,
		OutOfOrderness:     5 * time.Second,
		EventTypes:         defaultWeights(),
		Ingest:             ingestConfig{MaxBlockEvents: 4096, MaxQueuedEvents: 200_000, MaxQueuedMiB: 64},
		GCHeadroomMiB:      512,
		Collect:            collect.Default(),
		Kafka:              kafka.Default(),
		Catalog:            database.Default(),
		Publish:            publishing.Default(),
		Redis:              redis.DefaultConfig(),
		Likes:              likes.Default(),
		Import:             table.Default(),

		CheckpointToleratedFailures: anyNumber,
	}
}

// defaultWeights are the default event types as a configuration writes them.
func defaultWeights() map[string]float64 {
	types := event.DefaultTypes()
	weights := map[string]float64{}
	for _, name := range types.Names() {
		weights[name] = float64(types.WeightMilli(&event.Event{Type: name})) / 1000
	}
	return weights
}

// loadConfig reads the file, if a path is given, and the environment.
func loadConfig(path string) (config, error) {
	var b []byte
	if path != "" {
		var err error
		if b, err = os.ReadFile(path); err != nil {
			return defaultConfig(), fmt.Errorf("read configuration: %w", err)
		}
	}
	return readConfig(path, b, nil)
}

// readConfig reads the text of a file, if it has a path, and an environment; nil
// is that of the process.
func readConfig(path string, b []byte, environment map[string]string) (config, error) {
	c := defaultConfig()
	if path != "" {
		if err := checkSettings(b); err != nil {
			return c, fmt.Errorf("configuration %s: %w", path, err)
		}
		c.EventTypes = nil // a list in the file replaces the default one
		err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&c)
		if err != nil && !errors.Is(err, io.EOF) {
			return c, fileError(path, err)
		}
		if c.EventTypes == nil {
			c.EventTypes = defaultWeights()
		}
	}
	if err := env.ParseWithOptions(&c, env.Options{Environment: environment}); err != nil {
		return c, environmentError(err)
	}
	return c, c.validate()
}

// fileError says what is wrong with a configuration file, and where.
func fileError(path string, err error) error {
	var bad yaml.Error
	if !errors.As(err, &bad) || bad.GetToken() == nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	text, at := bad.GetMessage(), bad.GetToken()
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		text = fmt.Sprintf("want %s, got %s", settingType(typed.DstType), at.Value)
	}
	if colon := at.Prev; colon != nil && colon.Prev != nil && colon.Value == ":" {
		text = colon.Prev.Value + ": " + text
	}
	return fmt.Errorf("configuration %s, line %d: %s", path, at.Position.Line, text)
}

// checkSettings says which setting has a value that the decoder cuts off or
// refuses without a name: a fraction for a whole number, or what is no duration.
func checkSettings(file []byte) error {
	var settings map[string]any
	if yaml.Unmarshal(file, &settings) == nil { // else the decoder says it better
		return checkFields(settings, reflect.TypeFor[config]())
	}
	return nil
}

func checkFields(settings map[string]any, t reflect.Type) error {
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if name == ",inline" {
			if err := checkFields(settings, t.Field(i).Type); err != nil {
				return err
			}
		}
		if value, ok := settings[name]; ok && name != "" {
			if err := checkSetting(name, value, t.Field(i).Type); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSetting(name string, value any, t reflect.Type) error {
	bad := false
	switch value := value.(type) {
	case string:
		if t == reflect.TypeFor[time.Duration]() {
			_, err := time.ParseDuration(value)
			bad = err != nil
		}
	case float64:
		bad = t.Kind() == reflect.Int
	case map[string]any:
		switch {
		case t.Kind() == reflect.Struct:
			return checkFields(value, t)
		case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Int:
			for _, key := range slices.Sorted(maps.Keys(value)) {
				if err := checkSetting(name+": "+key, value[key], t.Elem()); err != nil {
					return err
				}
			}
		}
	}
	if bad {
		return fmt.Errorf("%s: want %s, got %v", name, settingType(t), value)
	}
	return nil
}

// environmentError says which variables cannot be read.
func environmentError(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return fmt.Errorf("configuration from the environment: %w", err)
	}
	var texts []string
	for _, err := range all.Errors {
		var bad env.ParseError
		if !errors.As(err, &bad) {
			texts = append(texts, err.Error())
			continue
		}
		name := variable(bad.Name)
		texts = append(texts, fmt.Sprintf("%s: want %s, got %q", name, settingType(bad.Type), os.Getenv(name)))
	}
	return fmt.Errorf("configuration from the environment: %s", strings.Join(texts, ", "))
}

// variable is the environment variable of a field of the configuration, or of a
// struct in it: one that is set, where several structs have such a field.
func variable(field string) string {
	names := variables(reflect.TypeFor[config](), "", field)
	for _, name := range names {
		if os.Getenv(name) != "" {
			return name
		}
	}
	return append(names, field)[0]
}

func variables(t reflect.Type, prefix, field string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == field && f.Tag.Get("env") != "" {
			names = append(names, prefix+f.Tag.Get("env"))
		}
		if f.Type.Kind() == reflect.Struct && f.IsExported() {
			names = append(names, variables(f.Type, prefix+f.Tag.Get("envPrefix"), field)...)
		}
	}
	return names
}

// settingType is the type of a setting in words.
func settingType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 10s"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Map || t.Kind() == reflect.Struct:
		return "names with values"
	}
	return "a " + t.String()
}

// The strategies of the watermark.
const (
	watermarkBounded    = "bounded"
	watermarkDynamic    = "dynamic"
	watermarkPunctuated = "punctuated"
)

// What windows go by.
const (
	timeEvent      = "event"
	timeProcessing = "processing"
)

// anyNumber is a number of failures that is never exceeded.
const anyNumber = -1

// operators are the options of the operators.
func (c config) operators() recommend.Options {
	o := recommend.Defaults()
	o.Association.ProcessingTime = c.AssociationTime == timeProcessing
	if c.CohortPreferences {
		options := cohort.Defaults()
		o.Cohort = &options
	}
	c.Publish.Apply(&o)
	return o
}

// policy says when checkpoints are taken.
func (c config) policy() checkpoint.Policy {
	p := checkpoint.Policy{
		Interval: c.CheckpointInterval, MinPause: c.CheckpointMinPause, Timeout: c.CheckpointTimeout, Tolerated: c.CheckpointToleratedFailures,
	}
	switch c.CheckpointToleratedFailures {
	case anyNumber:
		p.Tolerated = 0
	case 0:
		p.Tolerated = -1
	}
	return p
}

func (c config) validate() error {
	switch {
	case c.Data == "":
		return errors.New("configuration: data: want a directory")
	case c.Shards < 0 || c.Shards > 128:
		return fmt.Errorf("configuration: shards: want 0 to 128, got %d", c.Shards)
	case c.AssociationTime != timeEvent && c.AssociationTime != timeProcessing:
		return fmt.Errorf("configuration: association_time: want event or processing, got %q", c.AssociationTime)
	case c.OperatorTries < 0 || c.OperatorTries > 100:
		return fmt.Errorf("configuration: operator_tries: want 0 to 100, got %d", c.OperatorTries)
	case c.CheckpointInterval < 100*time.Millisecond:
		return fmt.Errorf("configuration: checkpoint_interval: want at least 100ms, got %v", c.CheckpointInterval)
	case c.CheckpointMinPause < 0 || c.CheckpointMinPause > 24*time.Hour:
		return fmt.Errorf("configuration: checkpoint_min_pause: want 0s to 24h, got %v", c.CheckpointMinPause)
	case c.CheckpointTimeout != 0 && c.CheckpointTimeout < 100*time.Millisecond:
		return fmt.Errorf("configuration: checkpoint_timeout: want at least 100ms, or 0s for none, got %v", c.CheckpointTimeout)
	case c.CheckpointToleratedFailures < anyNumber || c.CheckpointToleratedFailures > 1_000_000:
		return fmt.Errorf("configuration: checkpoint_tolerated_failures: want 0 to 1000000, or -1 for any number, got %d", c.CheckpointToleratedFailures)
	case !kind.Known(c.State):
		return fmt.Errorf("configuration: state: want %s, %s or %s, got %q", kind.Pebble, kind.File, kind.Memory, c.State)
	case c.CheckpointsRetained < 0 || c.CheckpointsRetained > 1000:
		return fmt.Errorf("configuration: checkpoints_retained: want 0 to 1000, got %d", c.CheckpointsRetained)
	case c.Ingest.MaxBlockEvents < 1 || c.Ingest.MaxBlockEvents > 1<<16:
		return fmt.Errorf("configuration: ingest.max_block_events: want 1 to 65536, got %d", c.Ingest.MaxBlockEvents)
	case c.Ingest.MaxQueuedEvents < 1 || c.Ingest.MaxQueuedEvents > 1<<30:
		return fmt.Errorf("configuration: ingest.max_queued_events: want 1 to 1073741824, got %d", c.Ingest.MaxQueuedEvents)
	case c.Ingest.MaxQueuedMiB < 1 || c.Ingest.MaxQueuedMiB > 1<<20:
		return fmt.Errorf("configuration: ingest.max_queued_mib: want 1 to 1048576, got %d", c.Ingest.MaxQueuedMiB)
	case c.GCHeadroomMiB < 0 || c.GCHeadroomMiB > 1<<20:
		return fmt.Errorf("configuration: gc_headroom_mib: want 0 to 1048576, got %d", c.GCHeadroomMiB)
	}
	if _, err := savepoint.OpenStore(c.CheckpointStore, c.Data); err != nil && c.CheckpointStore != "" {
		return fmt.Errorf("configuration: checkpoint_store: %w", err)
	}
	if err := c.validateWatermark(); err != nil {
		return err
	}
	types, err := event.NewTypes(c.EventTypes)
	if err != nil {
		return fmt.Errorf("configuration: event_types: %w", err)
	}
	if err := c.validateSystems(types); err != nil {
		return err
	}
	if err := c.checkParallelism(); err != nil {
		return fmt.Errorf("configuration: parallelism: %w", err)
	}
	for name, weights := range c.Recipes {
		if err := weights.Validate(); err != nil {
			return fmt.Errorf("configuration: recipes: %s: %w", name, err)
		}
	}
	for _, key := range c.Keys {
		if len(key) < 8 {
			return errors.New("configuration: keys: want at least 8 characters each")
		}
	}
	return nil
}

func (c config) validateWatermark() error {
	switch {
	case c.Watermark != watermarkBounded && c.Watermark != watermarkDynamic && c.Watermark != watermarkPunctuated:
		return fmt.Errorf("configuration: watermark: want bounded, dynamic or punctuated, got %q", c.Watermark)
	case c.Watermark == watermarkPunctuated && c.Punctuation == "":
		return errors.New("configuration: punctuation: want the type of the events that are marks, as the watermark is punctuated")
	case c.Watermark != watermarkPunctuated && c.Punctuation != "":
		return fmt.Errorf("configuration: punctuation: only with watermark punctuated, and that is %s", c.Watermark)
	case c.OutOfOrderness < 0 || c.OutOfOrderness > 24*time.Hour:
		return fmt.Errorf("configuration: out_of_orderness: want 0s to 24h, got %v", c.OutOfOrderness)
	}
	return nil
}

// checkParallelism says what is wrong with the stages that are named, or the
// shards that they are to have: before anything is opened.
func (c config) checkParallelism() error {
	var stages []string
	for _, n := range recommend.Topology(event.DefaultTypes(), c.operators()).Nodes() {
		if !n.Inputs[0].Chained {
			stages = append(stages, n.Name)
		}
	}
	slices.Sort(stages)
	for _, name := range slices.Sorted(maps.Keys(c.Parallelism)) {
		n := c.Parallelism[name]
		switch {
		case !slices.Contains(stages, name):
			return fmt.Errorf("want one of %s, got %q", strings.Join(stages, ", "), name)
		case n < 1 || n > operator.KeyGroups:
			return fmt.Errorf("%s: want 1 to %d, got %d", name, operator.KeyGroups, n)
		}
	}
	return nil
}
