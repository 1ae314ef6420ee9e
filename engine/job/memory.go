package job

import (
	"errors"

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

// load restores a key, or leaves it where it is stored when memory is full.
func (j *Job[T]) load(stage string, key, value []byte) error {
	if limit := j.options.MemoryLimit; limit > 0 {
		if j.loaded++; j.loaded%1024 == 0 {
			bytes, _ := j.pipeline.Bytes()
			j.full = bytes > limit*keptShare/100
		}
		if j.full {
			return j.pipeline.LoadCold(stage, key, value)
		}
	}
	return j.pipeline.Load(stage, key, value)
}
