// Package tail follows files that grow, as logs do: it hands out their lines,
// each once, whatever becomes of the files: they are renamed, removed, copied
// and begun anew, replaced. How far each has been read is kept by whoever stores
// the lines, together with them.
package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Options say what is followed, and how.
type Options struct {
	// Name is part of the names of sources: of several machines that collect for
	// one log each has its own.
	Name string
	// Paths are patterns of paths as path/filepath has them. For rotation by
	// renaming they should have the rotated files too, so that what was left of
	// one while nobody read is found.
	Paths []string
	// Exclude are patterns of paths, or of names if they have no slash, that are
	// left out; nil for DefaultExclude.
	Exclude []string
	// Header says that the first line of each file is a header.
	Header bool
	// FromEnd passes over what the files have that are there at the first start.
	FromEnd bool
	// MaxLineBytes bounds a line; 0 means DefaultMaxLineBytes. Of a longer one
	// only the beginning is handed out, marked as Long.
	MaxLineBytes int
	// Poll is how often files are looked for and looked at, if nothing says that
	// they have changed; 0 means DefaultPoll.
	Poll time.Duration
	// CloseAfter is how long a file that was removed, or renamed to what Paths
	// do not have, is followed after its last change; 0 means DefaultCloseAfter.
	CloseAfter time.Duration
	// PollOnly does without notifications of the file system.
	PollOnly bool
	// Position is how far the content of a source was stored, and whether
	// anything is known of it.
	Position func(ctx context.Context, source string) (next uint64, known bool, err error)
	Logger   *slog.Logger
}

// The defaults of Options.
const (
	DefaultMaxLineBytes = 1 << 20
	DefaultPoll         = time.Second
	DefaultCloseAfter   = 30 * time.Second
)

// DefaultExclude are the files that a rotation has compressed.
func DefaultExclude() []string { return []string{"*.gz", "*.bz2", "*.xz", "*.zst", "*.zip"} }

const (
	// maxLines bounds the lines that are handed out together.
	maxLines = 4096
	// keptBytes is how much of a line that is too long is handed out.
	keptBytes = 4 << 10
	// maxFormer bounds what is remembered of files that began anew.
	maxFormer = 256
)

// Line is one line of a file.
type Line struct {
	Text   []byte // without its end
	Offset uint64 // where it begins
	Long   bool   // it is longer than allowed, and Text is its beginning
}

// Lines are some lines of a file. They are valid until the next call of Next.
type Lines struct {
	Path   string
	Source string // names what the file has in it, for Position
	// Header is the first line of the file, if it has one that is a header.
	Header []byte
	Lines  []Line // may be none: then there is only a position to be stored
	// From is where they begin, and Next the position to be stored with them:
	// where the next line begins.
	From, Next uint64
}

// Follower follows files. It is used by one goroutine.
type Follower struct {
	o       Options
	files   []*file
	former  []former
	notices *notices
	begun   []*Lines // without lines: where reading begins, other than at the beginning
	buffer  []byte
	// stored is how far each source was handed out, which is stored when more is
	// asked for. Position may learn of it later.
	stored  map[string]uint64
	looked  time.Time
	started bool // the first look is over
	turn    int  // the file that is read next
	// met are files that are read for the first time, in the order in which that
	// is done: each up to what it had when it was met, before the next.
	met     []*file
	figures struct{ files, behind atomic.Uint64 }
	now     func() time.Time
}

// former is what a file had in it before it began anew.
type former struct {
	head   []byte
	before []byte
	offset uint64
}

// New makes a Follower. Errors are those of patterns.
func New(o Options) (*Follower, error) {
	if len(o.Paths) == 0 {
		return nil, errors.New("paths: want at least one, got none")
	}
	if o.Exclude == nil {
		o.Exclude = DefaultExclude()
	}
	for _, list := range [][]string{o.Paths, o.Exclude} {
		for _, pattern := range list {
			if _, err := filepath.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("want a pattern such as /var/log/shop/*.log, got %q: %w", pattern, err)
			}
		}
	}
	o.MaxLineBytes = cmp.Or(o.MaxLineBytes, DefaultMaxLineBytes)
	o.Poll = cmp.Or(o.Poll, DefaultPoll)
	o.CloseAfter = cmp.Or(o.CloseAfter, DefaultCloseAfter)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Follower{o: o, buffer: make([]byte, max(o.MaxLineBytes, keptBytes)+2), stored: map[string]uint64{}, now: time.Now}
	f.notices = newNotices(&o)
	return f, nil
}

// Close stops following.
func (f *Follower) Close() {
	f.notices.close()
	for _, t := range f.files {
		_ = t.open.Close() // it was read only
	}
}

// Try is Next without waiting: nil if there is nothing at present.
func (f *Follower) Try(ctx context.Context) (*Lines, error) {
	l, err := f.take(ctx)
	if l != nil || err != nil {
		return l, err
	}
	if err := f.look(ctx); err != nil {
		return nil, err
	}
	return f.take(ctx)
}

// Next waits for lines. The error is that of ctx, or of Position.
func (f *Follower) Next(ctx context.Context) (*Lines, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if f.notices.moved() || f.now().Sub(f.looked) >= f.o.Poll {
			if err := f.look(ctx); err != nil {
				return nil, err
			}
		}
		l, err := f.take(ctx)
		if l != nil || err != nil {
			return l, err
		}
		if err := f.notices.wait(ctx, f.o.Poll); err != nil {
			return nil, err
		}
	}
}

// take is what can be had without waiting, nil if there is nothing.
func (f *Follower) take(ctx context.Context) (l *Lines, err error) {
	if len(f.begun) == 0 {
		if l, err = f.sweep(ctx); l != nil || err != nil {
			return l, err
		}
	}
	if len(f.begun) > 0 {
		l, f.begun = f.begun[0], f.begun[1:]
		f.stored[l.Source] = l.Next
	}
	return l, nil
}

// sweep reads each file once, beginning with the one after the last that had
// something, and again if one began anew: its copies may be read then; or if the
// next of those that were met may be read now. It stops where the beginning of
// one is to be handed out first.
func (f *Follower) sweep(ctx context.Context) (*Lines, error) {
	for again := true; again; {
		again = false
		for range len(f.files) {
			f.turn = (f.turn + 1) % len(f.files)
			t := f.files[f.turn]
			if slices.Index(f.met, t) > 0 {
				continue
			}
			l, anew, err := f.readOn(ctx, t)
			if err != nil {
				return nil, err
			}
			nothing := l == nil && len(f.begun) == 0
			if len(f.met) > 0 && f.met[0] == t && (nothing || t.offset >= t.until) {
				f.met, again = f.met[1:], true
			}
			if !nothing {
				return l, nil
			}
			again = again || anew
		}
	}
	return nil, nil
}

// readOn reads a file until it has lines, or nothing more; anew says that it
// began anew meanwhile.
func (f *Follower) readOn(ctx context.Context, t *file) (l *Lines, anew bool, err error) {
	for t.known && t.copyOf == nil {
		l, failed := f.readFile(t)
		switch {
		case errors.Is(failed, errAnew):
			anew = true
			if err := f.begunAnew(ctx, t); err != nil {
				return nil, anew, err
			}
			continue
		case failed != nil:
			f.o.Logger.Warn("a file can not be read at present", "path", t.path, "error", failed)
			return nil, anew, nil
		case l != nil || t.ended || t.scanned == 0:
			return l, anew, nil
		}
	}
	return nil, anew, nil
}

// readFile is the next lines of a file, nil if there are none.
func (f *Follower) readFile(t *file) (*Lines, error) {
	now := f.now()
	finished := (t.gone || t.renamed) && t.atEnd(now, f.finishAfter())
	if finished {
		t.ended = false
	}
	read, err := t.read(f.buffer, now)
	if err != nil || len(read) == 0 && (!finished || t.scanned == 0) {
		return nil, err
	}
	from := t.offset
	list, err := t.lines(read, maxLines, &f.o, finished && t.ended)
	if err != nil || t.offset == from {
		return nil, err
	}
	l := &Lines{Path: t.path, Source: t.source, Lines: list, From: from, Next: t.offset}
	f.stored[t.source] = t.offset
	f.header(t, l)
	return l, nil
}

// finishAfter is when a line without an end counts as one, of a file that was
// rotated.
func (f *Follower) finishAfter() time.Duration { return max(f.o.CloseAfter/2, 2*f.o.Poll) }

// header takes the header of a file out of its lines.
func (f *Follower) header(t *file, l *Lines) {
	if !f.o.Header {
		return
	}
	for line := range strings.Lines(string(t.head)) {
		if trimmed := strings.TrimRight(line, "\r\n"); strings.TrimSpace(trimmed) != "" {
			l.Header = []byte(trimmed)
			break
		}
	}
	end := uint64(strings.Index(string(t.head), string(l.Header)) + len(l.Header))
	for len(l.Lines) > 0 && l.Lines[0].Offset < end {
		l.Lines = l.Lines[1:]
	}
}

// Rewind has the lines of a source handed out again that are not stored, where
// it is not known whether they are.
func (f *Follower) Rewind(ctx context.Context, source string) error {
	for _, t := range f.files {
		if !t.known || t.source != source {
			continue
		}
		next, known, err := f.o.Position(ctx, source)
		if err != nil {
			return err
		}
		if delete(f.stored, source); known {
			f.stored[source] = next
		} else {
			next = t.begin
		}
		if err := t.seek(next); err != nil && !errors.Is(err, errAnew) {
			return fmt.Errorf("reading %s again from %d: %w", t.path, next, err)
		}
	}
	return nil
}

// look finds what files there are.
func (f *Follower) look(ctx context.Context) error {
	for _, t := range f.files {
		t.seen = false
	}
	var folders []string
	for _, pattern := range f.o.Paths {
		folders = append(folders, filepath.Dir(pattern))
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if f.excluded(path) {
				continue
			}
			folders = append(folders, filepath.Dir(path))
			f.find(path)
		}
	}
	f.notices.watch(folders)
	for _, t := range f.files {
		if t.gone = !t.seen; t.gone {
			t.renamed = true
		}
	}
	if err := f.meet(ctx); err != nil {
		return err
	}
	f.compareCopies()
	f.closeGone()
	f.met = slices.DeleteFunc(f.met, func(t *file) bool { return !slices.Contains(f.files, t) })
	f.looked, f.started = f.now(), true
	f.count()
	return nil
}

// count takes down what Following tells.
func (f *Follower) count() {
	files, behind := uint64(0), uint64(0)
	for _, t := range f.files {
		if t.copyOf != nil {
			continue
		}
		files++
		if left := t.length - int64(t.offset); left > 0 {
			behind += uint64(left)
		}
	}
	f.figures.files.Store(files)
	f.figures.behind.Store(behind)
}

// Following is how many files are followed, and how many bytes of them are not
// handed out, as of the last look at them. It may be called at any time.
func (f *Follower) Following() (files int, behindBytes uint64) {
	return int(f.figures.files.Load()), f.figures.behind.Load()
}

func (f *Follower) excluded(path string) bool {
	return slices.ContainsFunc(f.o.Exclude, func(pattern string) bool {
		name := path
		if !strings.Contains(pattern, "/") {
			name = filepath.Base(path)
		}
		matches, _ := filepath.Match(pattern, name)
		return matches
	})
}

// find takes up a file, or notes under which path it is now.
func (f *Follower) find(path string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return // it has just vanished, or is nothing to read
	}
	id := idOf(info)
	for _, t := range f.files {
		if t.id == id {
			if !t.seen && t.path != path {
				t.path, t.renamed = path, true
			}
			t.seen, t.length = true, info.Size()
			return
		}
	}
	opened, err := os.Open(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.o.Logger.Warn("a file can not be followed", "path", path, "error", err)
		}
		return
	}
	info, err = opened.Stat()
	if err != nil || slices.ContainsFunc(f.files, func(t *file) bool { return t.id == idOf(info) }) {
		_ = opened.Close() // another one has come to the path meanwhile; the next look finds it
		return
	}
	f.files = append(f.files, &file{path: path, id: idOf(info), open: opened, seen: true, length: info.Size()})
}

// closeGone closes files that are not there any more and have not changed for a
// while.
func (f *Follower) closeGone() {
	f.files = slices.DeleteFunc(f.files, func(t *file) bool {
		idle := t.atEnd(f.now(), f.o.CloseAfter) && int64(t.offset) == t.size || !t.known || t.copyOf != nil
		if !t.gone || !idle {
			return false
		}
		f.remember(t)
		f.o.Logger.Debug("a file that is gone is not followed any more", "path", t.path)
		_ = t.open.Close() // it was read only
		return true
	})
}
