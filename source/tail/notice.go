package tail

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// notices are what the file system says of folders. Without it there is the
// polling, which is enough.
type notices struct {
	watcher *fsnotify.Watcher // nil if there is none
	watched map[string]bool
	names   bool // files have come, gone, or been renamed
	logger  *slog.Logger
}

func newNotices(o *Options) *notices {
	n := &notices{watched: map[string]bool{}, logger: o.Logger}
	if o.PollOnly {
		return n
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		o.Logger.Warn("files are looked at now and then only, as the file system gives no notices", "every", o.Poll, "error", err)
		return n
	}
	n.watcher = watcher
	return n
}

func (n *notices) close() {
	if n.watcher != nil {
		_ = n.watcher.Close() // nobody waits for it any more
	}
}

// watch has the folders watched too. One that can not be is polled.
func (n *notices) watch(folders []string) {
	for _, folder := range folders {
		folder = filepath.Clean(folder)
		if n.watcher == nil || n.watched[folder] {
			continue
		}
		n.watched[folder] = n.watcher.Add(folder) == nil
	}
}

// moved says whether files have come, gone, or been renamed since it was asked.
func (n *notices) moved() bool {
	n.take()
	moved := n.names
	n.names = false
	return moved
}

// take takes what has been said so far.
func (n *notices) take() {
	if n.watcher == nil {
		return
	}
	for {
		select {
		case e, ok := <-n.watcher.Events:
			if !ok {
				return
			}
			n.note(e)
		case err := <-n.watcher.Errors:
			n.lost(err)
		default:
			return
		}
	}
}

// lost has everything looked for, as notices were lost.
func (n *notices) lost(err error) {
	n.logger.Debug("notices of the file system were lost", "error", err)
	n.names = true
}

func (n *notices) note(e fsnotify.Event) {
	if e.Has(fsnotify.Create) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		n.names = true
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		delete(n.watched, filepath.Clean(e.Name)) // if it was a folder
	}
}

// settle is how long more is waited for after a notice, so that a line that is
// written in parts is not looked at for each of them.
const settle = 2 * time.Millisecond

// wait returns when something has changed, at the latest after a while.
func (n *notices) wait(ctx context.Context, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	if n.watcher == nil {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case e := <-n.watcher.Events:
		n.note(e)
		time.Sleep(settle)
		return nil
	case err := <-n.watcher.Errors:
		n.lost(err)
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
