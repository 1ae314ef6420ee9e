package job

import (
	"errors"
	"fmt"

	"millrace/engine/checkpoint"
	"millrace/event"
	"millrace/event/wire"
	"millrace/state"
)

// metaVersion is the version of the format that meta writes.
const metaVersion = 1

// ErrOtherJob is the error of a checkpoint that another job has left.
var ErrOtherJob = errors.New("the checkpoint is not of this job")

// subject is the job as checkpoints are taken of it.
type subject[T any] struct{ *Job[T] }

// Position is the last block that was processed.
func (s subject[T]) Position() uint64 { return s.block }

// Begin fixes the state, and the positions that belong to it.
func (s subject[T]) Begin() state.Checkpoint {
	s.pipeline.BeginCheckpoint()
	return state.Checkpoint{Block: s.block, Time: event.FromGo(s.options.Now()), Meta: s.meta()}
}

// Encode encodes keys of the pipeline.
func (s subject[T]) Encode(stop func() bool) bool { return s.pipeline.Encode(stop) }

// Take takes the writes of the pipeline.
func (s subject[T]) Take() []state.Table { return s.pipeline.TakeWrites() }

// Prepare has nothing to do.
func (s subject[T]) Prepare(*state.Checkpoint) error { return nil }

// meta is what a checkpoint holds besides keyed state.
func (j *Job[T]) meta() []byte {
	b := []byte{metaVersion}
	b = wire.AppendString(b, j.options.Name)
	b = wire.AppendUvarint(b, j.records)
	b = wire.AppendBool(b, j.ended)
	b = wire.AppendUvarint(b, uint64(len(j.partitions)))
	for _, p := range j.partitions {
		b = wire.AppendUvarint(b, p.position)
		b = wire.AppendBool(b, p.ended)
	}
	return j.watermarks.AppendTo(b)
}

// recover loads the newest checkpoint, if there is one.
func (j *Job[T]) recover() error {
	if j.options.State == nil {
		return nil
	}
	latest, err := j.options.State.Latest()
	switch {
	case errors.Is(err, state.ErrNone):
	case err != nil:
		return err
	default:
		if err := j.restore(latest); err != nil {
			return err
		}
	}
	j.saver = checkpoint.New(checkpoint.Options{
		Policy: j.options.Checkpoints, Backend: j.options.State, Now: j.options.Now, Logger: j.options.Logger,
		Spawn: func(f func()) { go f() }, Stop: j.stop,
	}, j.block)
	return nil
}

func (j *Job[T]) restore(latest *state.Checkpoint) error {
	r := wire.NewReader(latest.Meta)
	if version := r.Byte(); version != metaVersion {
		return fmt.Errorf("checkpoint of block %d has format %d: this release reads %d", latest.Block, version, metaVersion)
	}
	if name := r.String(); name != j.options.Name && r.Err() == nil {
		return fmt.Errorf("%w: block %d is of %q, not of %q", ErrOtherJob, latest.Block, name, j.options.Name)
	}
	j.block, j.records, j.ended = latest.Block, r.Uvarint(), r.Bool()
	if n := r.Count(); n != len(j.partitions) && r.Err() == nil {
		return fmt.Errorf("checkpoint of block %d is of %d partitions: the source has %d", latest.Block, n, len(j.partitions))
	}
	for _, p := range j.partitions {
		p.position, p.ended = r.Uvarint(), r.Bool()
	}
	if err := errors.Join(r.Err(), j.watermarks.Load(r)); err != nil {
		return fmt.Errorf("checkpoint of block %d: %w", latest.Block, err)
	}
	j.beginRecovery()
	if err := checkpoint.Load(j.options.State, j.options.AllowNonRestoredState, j.options.Logger, j.load); err != nil {
		return err
	}
	j.passed = j.watermarks.Watermark()
	j.pipeline.Resume(j.passed)
	return j.publish()
}
