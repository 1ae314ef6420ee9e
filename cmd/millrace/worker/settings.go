package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/catalog/database"
	"millrace/cmd/millrace/publishing"
	"millrace/engine/embedded"
	"millrace/engine/flink"
	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/operator/publish"
	"millrace/reference"
	sink "millrace/sink/kafka"
	"millrace/source/kafka"
	"millrace/view/redis"
)

// Settings are what of a configuration a job on Flink needs.
type Settings struct {
	Kafka   kafka.Config
	Publish publishing.Config
	Catalog database.Config
	Redis   redis.Config
	// Record is the configuration record, see Wiring.Build.
	Record []byte
}

// Wiring is what the command is connected to.
type Wiring struct {
	// Settings reads a configuration: the text of the file called name, and an
	// environment.
	Settings func(name string, file []byte, environment map[string]string) (Settings, error)
	// Build makes what is run of a configuration record.
	Build func(record []byte) (*embedded.Program, error)
}

// environment are the variables that settings can come from.
func environment() map[string]string {
	all := map[string]string{}
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "MILLRACE_") {
			all[name] = value
		}
	}
	return all
}

// program is what a plan carries of what the job computes: workers have nothing
// else to learn it from.
type program struct {
	// Reference is the name of a reference job; or the rest is there.
	Reference string `json:"reference,omitempty"`

	// Submission tells jobs apart that are made of the same configuration.
	Submission  string            `json:"submission,omitempty"`
	Name        string            `json:"name,omitempty"` // of the file, for errors
	Config      string            `json:"config,omitempty"`
	Environment map[string]string `json:"environment"`
}

// jobs are the reference jobs that run on Flink: those that are keyed by user,
// which Flink's generator makes keys of.
func jobs() []string {
	return slices.DeleteFunc(reference.Names(), func(name string) bool { return name == "J3" })
}

// Builder builds the programs of a process. What they share is opened once.
type Builder struct {
	wiring Wiring
	logger *slog.Logger

	mutex sync.Mutex
	// parts are those of a program, by its bytes.
	parts map[string]*parts
}

// parts are what the sessions of a job share in a process.
type parts struct {
	settings  Settings
	decoder   *decoder
	catalogue *catalogue     // nil if there is none in a database
	views     *views         // nil if there are none in Redis
	preparer  *sink.Preparer // nil if nothing is published
}

// openPatience is how long systems are waited for when a session begins.
const openPatience = 20 * time.Second

// NewBuilder makes the Builder of a process.
func NewBuilder(wiring Wiring, logger *slog.Logger) *Builder {
	return &Builder{wiring: wiring, logger: logger, parts: map[string]*parts{}}
}

// Build makes the program that a plan carries.
func (w *Builder) Build(b []byte) (*flink.Program, error) {
	var p program
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("not a program: %w", err)
	}
	if p.Reference != "" || p.Config == "" && p.Environment == nil {
		return buildReference(p.Reference)
	}
	shared, err := w.share(string(b), &p)
	if err != nil {
		return nil, err
	}
	return w.assemble(shared)
}

func buildReference(name string) (*flink.Program, error) {
	if !slices.Contains(jobs(), name) {
		return nil, fmt.Errorf("job %q: want one of %s", name, strings.Join(jobs(), ", "))
	}
	return &flink.Program{
		Topology: reference.Topology(name),
		Source:   flink.Records[reference.Event](nil),
		Key:      &flink.PlanKey{Offset: reference.EventKeyOffset, Length: reference.EventKeyLength},
		Sinks:    map[string]string{reference.StageDigest: "result"},
	}, nil
}

// share opens what the sessions of a program share, or finds it.
func (w *Builder) share(key string, p *program) (*parts, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if known := w.parts[key]; known != nil {
		return known, nil
	}
	if p.Environment == nil { // that of the client, not of this process
		p.Environment = map[string]string{}
	}
	s, err := w.settings(p)
	if err != nil {
		return nil, err
	}
	built, err := w.wiring.Build(s.Record)
	if err != nil {
		return nil, err
	}
	n, err := w.open(s, p.Submission, built)
	if err == nil {
		w.parts[key] = n
	}
	return n, err
}

// settings are those that a program carries. What does not run on Flink is refused.
func (w *Builder) settings(p *program) (Settings, error) {
	s, err := w.wiring.Settings(p.Name, []byte(p.Config), p.Environment)
	if err == nil && !s.Kafka.Reads() {
		err = errors.New("a job on Flink reads Kafka: kafka.brokers: want HOST:PORT of some, got none")
	}
	return s, err
}

func (w *Builder) open(s Settings, submission string, built *embedded.Program) (n *parts, err error) {
	n = &parts{settings: s}
	var registry *schemaregistry.Client
	if s.Kafka.SchemaRegistry.Enabled() {
		if registry, err = schemaregistry.New(s.Kafka.SchemaRegistry, w.logger); err != nil {
			return nil, err
		}
	}
	if n.decoder, err = newDecoder(s.Kafka, built, registry, w.logger); err != nil {
		return nil, err
	}
	if n.catalogue, err = openCatalogue(s.Catalog, w.logger); err != nil {
		return nil, err
	}
	if s.Redis.Enabled() {
		if n.views, err = newViews(s.Redis, submission); err != nil {
			return nil, err
		}
	}
	if s.Publish.Enabled {
		n.preparer, err = sink.NewPreparer(s.Publish.Config, s.Kafka.Config, registry, w.logger)
	}
	return n, err
}

// publish is a flink.Publish.
func (n *parts) publish(r *publish.Record) (topic string, value []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), openPatience)
	defer cancel()
	return n.preparer.Prepare(ctx, r)
}

// assemble makes the program of a session.
func (w *Builder) assemble(n *parts) (*flink.Program, error) {
	built, err := w.wiring.Build(n.settings.Record)
	if err != nil {
		return nil, err
	}
	partitions := built.Partitions
	p := &flink.Program{Topology: built.Topology}
	p.Source = flink.Topics[event.Enriched]{
		Decode: func(r *flink.Raw, now event.Time, e *event.Enriched) (flink.Verdict, error) {
			v, err := n.decoder.decode(r, now, e)
			if err == nil && n.catalogue != nil {
				e.ItemInfo, e.UserInfo = n.catalogue.index.Item(e.Item), n.catalogue.index.User(e.User)
			}
			return v, err
		},
		Watermarks: named(partitions.Strategy),
		Idle:       partitions.Idle, Apart: partitions.Apart, Letters: n.settings.Kafka.DeadLetterTopic,
	}
	if n.settings.Publish.Enabled {
		p.Publish = n.publish
	}
	if n.views != nil {
		p.Views = n.views
	}
	return p, nil
}
