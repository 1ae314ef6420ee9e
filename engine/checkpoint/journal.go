package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// maxJournal bounds what is read of a journal, whose records have some hundred
// bytes each.
const maxJournal = 16 << 20

// Journal keeps the history of checkpoints in a file, a record a line, for
// whoever asks later. It is small, not synced, and nothing depends on it: what
// cannot be read is passed over. A nil Journal keeps nothing.
type Journal struct {
	path string

	mutex   sync.Mutex
	records []Record // what the file comes to
	lines   int      // that the file has
	torn    bool     // a line of it is none
}

// OpenJournal reads the journal in a file, which need not be there yet.
func OpenJournal(path string) (*Journal, error) {
	j := &Journal{path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, fmt.Errorf("read the history of checkpoints: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return j, fmt.Errorf("read the history of checkpoints: %w", err)
	}
	j.torn = len(text) > 0 && text[len(text)-1] != '\n'
	for line := range bytes.Lines(text) {
		var r Record
		if json.Unmarshal(line, &r) != nil {
			j.torn = true
			continue
		}
		j.lines++
		j.records = appendRecord(j.records, r)
	}
	return j, nil
}

// Records are the latest ones, oldest first.
func (j *Journal) Records() []Record {
	if j == nil {
		return nil
	}
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return slices.Clone(j.records)
}

// Append adds a record, which replaces the last one if it is of the same
// checkpoint. Now and then the file is written anew, so that it stays small.
func (j *Journal) Append(r Record) error {
	if j == nil {
		return nil
	}
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.records = appendRecord(j.records, r)
	if j.torn || j.lines >= 2*keptRecords {
		return j.rewrite()
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	j.torn = err != nil
	j.lines++
	return errors.Join(err, f.Close())
}

func (j *Journal) rewrite() error {
	var text []byte
	for _, r := range j.records {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	unfinished := j.path + ".tmp"
	if err := os.WriteFile(unfinished, text, 0o644); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, j.path); err != nil {
		return err
	}
	j.lines, j.torn = len(j.records), false
	return nil
}
