package harness

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/operatortest"
)

// hosted is a run on workers of the Flink host.
type hosted[T any] struct {
	topology   *operator.Topology
	options    flinktest.Options
	limited    bool   // nearly all state is left to Flink
	backend    string // of Flink's own harness; "" is flinktest's cluster
	host       *flinktest.Host
	flushes    int
	sources    *[]T // the records that were sent, by their number
	cluster    *flinktest.Cluster
	loaded     flinktest.Snapshot
	held       operatortest.Views
	partitions int
	mark, now  event.Time
	lag        *rand.Rand
	outputs
	failed error
}

// hostedLag is after how many records, on average, stages on the Flink host learn
// how far event time has come: results depend on what records travel with, not on
// how far behind a stage's own watermark is.
const hostedLag = 3

// beginFlink adds the runs on the Flink host.
func (h *Harness[T]) beginFlink(shards int) {
	h.t.Helper()
	if slices.ContainsFunc(h.topology.Nodes(), func(n *operator.Node) bool { return n.Broadcast }) {
		return
	}
	for _, limited := range []bool{false, true} {
		h.host(shards, limited, "")
	}
	h.beginHarness(shards)
}

// host adds a run on the Flink host.
func (h *Harness[T]) host(shards int, limited bool, backend string) {
	h.t.Helper()
	r := &hosted[T]{
		topology: h.topology, limited: limited, backend: backend, sources: &[]T{}, loaded: flinktest.Snapshot{}, held: operatortest.Views{},
		partitions: h.options.Partitions, mark: event.MinTime, lag: rand.New(rand.NewPCG(h.options.Seed, 9)),
	}
	if err := r.prepare(shards, h.options.Seed); err != nil {
		h.t.Fatalf("%v", err)
	}
	h.runs = append(h.runs, r)
}

// prepare makes the worker. The cluster starts with the first thing that happens,
// when all is loaded.
func (r *hosted[T]) prepare(shards int, seed uint64) error {
	r.topology.InProcess()
	program := &flink.Program{Topology: r.topology, Views: flinktest.Views(r.held.Put), Source: flink.Records(&codec.Codec[T]{Load: func(in *wire.Reader, v *T) { *v = (*r.sources)[in.Uvarint()] }})}
	for _, n := range r.topology.Nodes() {
		for _, port := range n.Outputs {
			program.Taps = append(program.Taps, pipeline.Tap{Stage: n.Name, Port: port, Sink: func(int) operator.RawSink {
				return func(m operator.Meta, record any) { r.add(n.Name+"."+port, m.Time, record) }
			}})
		}
	}
	plan, err := flink.NewPlan("harness", program, nil)
	if err != nil {
		return err
	}
	o := flink.Options{Build: func([]byte) (*flink.Program, error) { return program, nil }}
	if r.limited {
		o.MemoryLimit = 1
	}
	worker := flink.NewWorker(o)
	if r.backend != "" {
		if r.host, err = flinktest.NewHost(r.backend, worker); err != nil {
			return err
		}
	}
	r.options = flinktest.Options{
		Plan: plan, Dial: flinktest.Local(worker), Host: r.host, Subtasks: shards, Partitions: r.partitions, Seed: seed,
	}
	return nil
}

// do does something with the cluster, and remembers the first error.
func (r *hosted[T]) do(what func(*flinktest.Cluster) error) {
	if r.failed == nil && r.cluster == nil {
		r.cluster, r.failed = flinktest.New(r.options, r.loaded)
	}
	if r.failed == nil {
		r.failed = what(r.cluster)
	}
}

func (r *hosted[T]) name() string {
	text := fmt.Sprintf("the Flink host with %d subtasks", r.options.Subtasks)
	if r.backend != "" {
		text += " in Flink's harness, " + r.backend
	}
	if r.limited {
		text += " and its state left to Flink"
	}
	return text
}

func (r *hosted[T]) send(partition int, m operator.Meta, record *T, mark event.Time) {
	*r.sources = append(*r.sources, *record)
	number := wire.AppendUvarint(nil, uint64(len(*r.sources)-1))
	r.do(func(c *flinktest.Cluster) error { return c.Send(partition, m, true, number) })
	r.mark = max(r.mark, mark)
	if r.partitions == 1 && r.lag.IntN(hostedLag) == 0 {
		r.advance(mark)
	}
}

func (r *hosted[T]) advance(mark event.Time) {
	r.mark = max(r.mark, mark)
	for partition := range r.partitions {
		r.do(func(c *flinktest.Cluster) error { return c.Watermark(partition, r.mark) })
	}
}

func (r *hosted[T]) processing(now event.Time) {
	r.now = max(r.now, now)
	r.do(func(c *flinktest.Cluster) error {
		if err := c.Drain(); err != nil {
			return err
		}
		return c.ProcessingTime(r.now)
	})
}

// flush takes a checkpoint too, so that what is stored is the state.
func (r *hosted[T]) flush(mark, _ event.Time) error {
	r.advance(mark)
	r.do((*flinktest.Cluster).Checkpoint)
	r.do((*flinktest.Cluster).Drain)
	if r.backend != "" {
		r.rescale()
	}
	return r.failed
}

func (r *hosted[T]) forget(subject operator.Subject, key string) {
	r.do(func(c *flinktest.Cluster) error {
		if err := c.Drain(); err != nil {
			return err
		}
		return c.Forget(subject, key)
	})
}

func (r *hosted[T]) views() map[string]map[string]operator.Value { return r.held }

// state is that of all keys. Where it is left to Flink it has keys too whose time
// has ended there and that nobody has missed.
func (r *hosted[T]) state() map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	stored := r.loaded
	if r.cluster != nil {
		stored = r.cluster.State()
	}
	for _, n := range r.topology.Nodes() {
		all[n.Name] = maps.Clone(stored[n.Name])
		if all[n.Name] == nil {
			all[n.Name] = map[string][]byte{}
		}
		if ttl := n.TTL(); r.limited {
			maps.DeleteFunc(all[n.Name], func(_ string, value []byte) bool { return ttl.Over(value, r.mark, r.now) })
		}
	}
	return all
}

func (r *hosted[T]) load(stage, key string, value []byte) error {
	if r.loaded[stage] == nil {
		r.loaded[stage] = map[string][]byte{}
	}
	r.loaded[stage][key] = value
	return nil
}

func (r *hosted[T]) resume(mark, now event.Time) error {
	r.processing(now)
	return r.flush(mark, now)
}
