package job

import (
	"errors"

	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

const (
	// keptShare is how much of the bound is left when keys have been evicted,
	// in percent, so that it is not done for every block.
	keptShare = 70
	// dirtyBytes is what a changed key takes at most while a checkpoint is
	// written, besides its state.
	dirtyBytes = 128
)

// cold is where evicted keys are read back.
func (j *Job[T]) cold() operator.Cold {
	if j.options.MemoryLimit == 0 || j.options.State == nil {
		return nil
	}
	return func(stage string, key []byte) ([]byte, bool, error) {
		value, err := j.options.State.Get(stage, key)
		if errors.Is(err, state.ErrNotFound) {
			return nil, false, nil
		}
		return value, err == nil, err
	}
}

// bound lets go of memory when the state has outgrown its bound: keys that
// have not changed since the last checkpoint leave. If too many have changed,
// a checkpoint is taken first, and the source waits for it.
func (j *Job[T]) bound() error {
	limit := j.options.MemoryLimit
	if limit == 0 {
		return nil
	}
	bytes, dirty := j.pipeline.Bytes()
	if bytes <= limit && int64(dirty)*dirtyBytes <= limit/4 {
		return nil
	}
	if int64(dirty)*dirtyBytes > limit/4 || !j.saver.Idle() {
		if err := j.saver.Now(subject[T]{j}); err != nil {
			return err
		}
	}
	if bytes > limit {
		j.pipeline.Evict(limit * keptShare / 100)
	}
	return nil
}

// recovery is how far keys have been loaded.
type recovery struct {
	keys      int
	kept      bool // as much as is left when keys are evicted is in memory
	full      bool // and the bound is reached
	ttls      map[string]*operator.TTL
	watermark event.Time
	now       event.Time
}

func (j *Job[T]) beginRecovery() {
	j.recovery = recovery{ttls: map[string]*operator.TTL{}, watermark: j.watermarks.Watermark(), now: event.FromGo(j.options.Now())}
	for _, n := range j.options.Topology.Nodes() {
		j.recovery.ttls[n.Name] = n.TTL()
	}
}

// load restores a key, or leaves it where it is stored when memory is full. A
// key whose time is over is restored while there is any room: the first block
// drops it then, and the next checkpoint deletes it. Where it is stored nobody
// would come across it again.
func (j *Job[T]) load(stage string, key, value []byte) error {
	r := &j.recovery
	if limit := j.options.MemoryLimit; limit > 0 {
		if r.keys++; r.keys%1024 == 0 {
			bytes, _ := j.pipeline.Bytes()
			r.kept, r.full = bytes > limit*keptShare/100, bytes > limit
		}
		if r.kept && (r.full || !r.ttls[stage].Over(value, r.watermark, r.now)) {
			return j.pipeline.LoadCold(stage, key, value)
		}
	}
	return j.pipeline.Load(stage, key, value)
}
