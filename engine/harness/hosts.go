package harness

import (
	"strings"
	"sync"

	"millrace/engine/flink/flinktest"
)

const (
	// hostedHarnesses are how many harnesses of the same stages run in Flink's own
	// harness: property tests make hundreds.
	hostedHarnesses = 2
	// rescaled is after how many checkpoints a job in Flink's harness goes on from
	// one with another number of subtasks.
	rescaled = 4
	// hostedSubtasks are how many it has then, at most.
	hostedSubtasks = 3
)

// hostedCount counts the harnesses that have run in Flink's own, by their stages.
var hostedCount = struct {
	sync.Mutex
	of map[string]int
}{of: map[string]int{}}

// chooseHosts decides whether the harness runs in Flink's own too.
func (h *Harness[T]) chooseHosts() {
	if h.options.follow || h.topology.Err() != nil { // a script has decided
		return
	}
	var stages []string
	for _, n := range h.topology.Nodes() {
		stages = append(stages, n.Name)
	}
	name := strings.Join(stages, " ")
	hostedCount.Lock()
	defer hostedCount.Unlock()
	hostedCount.of[name]++
	h.options.hosts = hostedCount.of[name] <= hostedHarnesses
}

// beginHarness adds the runs in Flink's own operator harness, where there is one:
// on each backend, in turns with all state in memory and with nearly all of it
// left to Flink.
func (h *Harness[T]) beginHarness(shards int) {
	h.t.Helper()
	if !h.options.hosts {
		return
	}
	for i, backend := range flinktest.Backends() {
		h.host(shards, (int(h.options.Seed%2)+shards+i)%2 == 0, backend)
	}
}

// close ends the runs in Flink's own harness.
func (h *Harness[T]) close() {
	for _, r := range h.runs {
		if r, ok := r.(*hosted[T]); ok && r.host != nil {
			r.close()
		}
	}
	h.runs = nil
}

// rescale goes on from the checkpoint that has just come through, now and then,
// with another number of subtasks.
func (r *hosted[T]) rescale() {
	if r.flushes++; r.flushes%rescaled != 0 {
		return
	}
	r.do((*flinktest.Cluster).Close)
	if r.failed != nil {
		return
	}
	r.loaded, r.options.Restored = r.cluster.State(), r.cluster.Begun()
	r.options.Subtasks = 1 + r.options.Subtasks%hostedSubtasks
	r.cluster = nil
	r.processing(r.now)
	r.advance(r.mark)
	r.do((*flinktest.Cluster).Drain)
}

// close ends the sessions; a test that fails leaves some at work.
func (r *hosted[T]) close() {
	if r.cluster != nil {
		r.cluster.Kill()
	}
	if err := r.host.Close(); err != nil && r.failed == nil {
		r.failed = err
	}
	r.host = nil
}
