package flinktest

import (
	"context"
	"sync"

	"millrace/engine/flink"
	"millrace/event"
	"millrace/operator"
)

// Views is a flink.Views of a function that keeps answers, which need not be
// safe for several goroutines. An answer of a session that has joined earlier than
// the one that has written the key last is dropped.
func Views(put func(operator.ViewWrite)) flink.Views {
	return &views{put: put, newest: map[[2]string]int{}}
}

type views struct {
	mutex  sync.Mutex
	put    func(operator.ViewWrite)
	joined int
	newest map[[2]string]int // by view and key
}

// Join counts the sessions.
func (v *views) Join(context.Context, flink.SessionInfo) (flink.ViewWriter, error) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.joined++
	return &viewWriter{v, v.joined}, nil
}

// viewWriter is one session's.
type viewWriter struct {
	*views
	number int
}

// Write keeps answers.
func (w *viewWriter) Write(_ context.Context, writes []operator.ViewWrite) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, write := range writes {
		if at := [2]string{write.View, write.Key}; w.newest[at] <= w.number {
			w.newest[at] = w.number
			w.put(write)
		}
	}
	return nil
}

// Check is content.
func (w *viewWriter) Check(context.Context) error { return nil }

// Progress is for readers, of whom there are none.
func (w *viewWriter) Progress(event.Time, event.Time) error { return nil }

// Close has nothing to do.
func (w *viewWriter) Close() {}
