// Package sink takes the results of an engine to other systems, exactly once.
//
// A Sink is such a system: it commits the records of some blocks together with
// how far that is, in one transaction of its own. A Publisher stands between an
// engine and a Sink: it collects what blocks publish, has it committed in the
// background, tries again, and says how things stand.
package sink

import (
	"context"
	"errors"

	"millrace/event"
	"millrace/operator/publish"
)

// ErrFenced is the error of a sink that another engine has taken over. It is
// final: two engines would publish everything twice.
var ErrFenced = errors.New("another engine publishes under the same name")

// Sink is a system that takes records. Its methods are called one at a time.
type Sink interface {
	// Open takes the sink over from whoever had it and tells what is committed
	// in it, after which nothing more of what was written before is. It is also
	// called again after an error, when it is not known whether a Commit has
	// succeeded: then Progress tells.
	Open(ctx context.Context) (Progress, error)
	// Commit commits the records of the blocks, in their order, and the progress
	// with them, all or nothing. After an error Open comes next. ErrFenced is
	// final.
	Commit(ctx context.Context, blocks []Block, p Progress) error
	// Close lets go of the sink. What was not committed is not there.
	Close() error
}

// Progress is how far a sink has got. The zero value is that of a new one.
type Progress struct {
	// Log is the identity of the log that the blocks are of.
	Log string
	// Run tells the process that has committed it from others that worked on
	// the same log.
	Run string
	// Block is the last block whose records are committed.
	Block uint64
}

// Block is what one block of the log publishes.
type Block struct {
	Number  uint64
	Time    event.Time // when the log took it
	Records []publish.Record
}

// Bytes is about how much memory the records take.
func (b *Block) Bytes() int64 {
	n := int64(0)
	for i := range b.Records {
		n += int64(b.Records[i].Bytes())
	}
	return n
}
