package pebble

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// logger passes on what Pebble reports: its diary at the debug level, errors
// as errors.
type logger struct{ to *slog.Logger }

// Infof implements pebble.Logger.
func (l logger) Infof(format string, args ...any) {
	if l.to != nil {
		l.to.Debug(fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l logger) Errorf(format string, args ...any) {
	if l.to != nil {
		l.to.Error(fmt.Sprintf(format, args...))
	}
}

// dataCorruption is called where a damaged file was found. It returns, other
// than Pebble's own, which ends the process: who reads gets state.ErrCorrupt.
func (l logger) dataCorruption(info pebble.DataCorruptionInfo) {
	l.Errorf("state: %s is damaged: %v", info.Path, info.Details)
}

// backgroundError is called when a compaction fails. It is tried again, and
// what is stored is as it was.
func (l logger) backgroundError(err error) {
	l.Errorf("state: in the background: %v", err)
}

// Fatalf is called when Pebble cannot go on without risking what is stored,
// such as when its manifest cannot be written. It must not return.
func (l logger) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.Errorf("millrace stops because stored state could come to harm otherwise; "+
		"nothing that was acknowledged is lost, and a restart makes it anew from the log: %s", text)
	panic("state: " + text)
}
