package tail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// meet finds out of files that are new, or have only now something in them,
// where reading them goes on: those whose position is known first, as others
// may be copies of them.
func (f *Follower) meet(ctx context.Context) error {
	var all, strangers []*file
	for _, t := range f.files {
		if t.known {
			continue
		}
		all = append(all, t)
		begin, ok, err := readHead(t.open, f.o.Header)
		if err != nil {
			f.o.Logger.Warn("a file can not be read at present", "path", t.path, "error", err)
		}
		if !ok || err != nil {
			continue
		}
		met, err := f.resume(ctx, t, begin, 0)
		if err != nil {
			return err
		}
		if !met {
			strangers = append(strangers, t)
		}
	}
	for _, t := range strangers {
		if err := f.introduce(ctx, t); err != nil {
			return err
		}
	}
	f.queue(all)
	return nil
}

// queue has files that were just met read in the order in which they were
// written, as events of a rotated set would be late if the newest were first.
func (f *Follower) queue(met []*file) {
	type written struct {
		file *file
		time time.Time
	}
	var list []written
	for _, t := range met {
		info, err := t.open.Stat()
		if !t.known || t.copyOf != nil || err != nil || slices.Contains(f.met, t) {
			continue
		}
		t.until = uint64(info.Size())
		list = append(list, written{t, info.ModTime()})
	}
	slices.SortFunc(list, func(a, b written) int {
		return cmp.Or(a.time.Compare(b.time), strings.Compare(a.file.path, b.file.path))
	})
	for _, w := range list {
		f.met = append(f.met, w.file)
	}
}

// resume sets what a file is known by, and goes on where its position is. A
// file that is shorter than it was began anew with what it began with before.
func (f *Follower) resume(ctx context.Context, t *file, begin []byte, generation int) (met bool, err error) {
	t.head, t.generation = begin, generation
	next, met, generation, err := f.position(ctx, begin, t.id, generation)
	if err != nil {
		return false, err
	}
	if met {
		t.generation = generation
		if err = t.seek(next); errors.Is(err, errAnew) {
			t.generation++
			err = t.seek(0)
			t.begin = 0
		} else {
			t.begin = next
		}
		t.known = err == nil && f.unchanged(t)
	}
	t.source = f.o.sourceName(t.head, t.id, t.generation)
	return met, err
}

// unchanged says whether a file still begins as it did: asking for positions
// may take long, and it may have begun anew meanwhile. The next look meets it
// again then.
func (f *Follower) unchanged(t *file) bool {
	same, err := sameAt(t.open, t.head, 0)
	return same && err == nil
}

// position is that of the newest generation of which one is stored.
func (f *Follower) position(ctx context.Context, begin []byte, id fileID, generation int) (next uint64, known bool, newest int, err error) {
	for ; ; generation++ {
		source := f.o.sourceName(begin, id, generation)
		n, ok := f.stored[source]
		if !ok {
			if n, ok, err = f.o.Position(ctx, source); err != nil || !ok {
				return next, known, newest, err
			}
		}
		next, known, newest = n, true, generation
	}
}

// introduce begins with a file of which no position is known: after what was
// read of the one that it is a copy of, else at its beginning.
func (f *Follower) introduce(ctx context.Context, t *file) error {
	for _, other := range f.files {
		if other == t || !other.known || other.copyOf != nil || !bytes.Equal(other.head, t.head) {
			continue
		}
		if same, err := isCopy(other.open, t.open); err == nil && same {
			t.known, t.copyOf = true, other
			f.o.Logger.Debug("a copy of another file is not read", "path", t.path, "other", other.path)
			return nil
		}
	}
	for _, was := range slices.Backward(f.former) {
		if !bytes.Equal(was.head, t.head) {
			continue
		}
		if same, err := sameAt(t.open, was.before, int64(was.offset)-int64(len(was.before))); err == nil && same {
			return f.startAt(t, was.offset)
		}
	}
	for _, other := range f.files {
		if other == t || !strings.HasPrefix(stem(t.path), stem(other.path)) {
			continue
		}
		next, known, _, err := f.position(ctx, t.head, other.id, 0)
		if err != nil {
			return err
		}
		if info, err := t.open.Stat(); known && err == nil && uint64(info.Size()) >= next {
			return f.startAt(t, next)
		}
	}
	if f.o.FromEnd && !f.started {
		return f.startAtEnd(t)
	}
	return f.startAt(t, 0)
}

// startAt begins with a file at an offset.
func (f *Follower) startAt(t *file, offset uint64) error {
	t.known, t.copyOf, t.begin = true, nil, offset
	if err := t.seek(offset); err != nil {
		f.o.Logger.Warn("a file is read from its beginning", "path", t.path, "error", err)
		t.begin = 0
		if err := t.seek(0); err != nil {
			return err
		}
	}
	if !f.unchanged(t) {
		t.known = false
		return nil
	}
	if t.begin > 0 {
		f.begun = append(f.begun, &Lines{Path: t.path, Source: t.source, From: offset, Next: offset})
	}
	f.o.Logger.Debug("a file is followed", "path", t.path, "offset", offset, "source", t.source)
	return nil
}

// startAtEnd begins with a file after its last whole line.
func (f *Follower) startAtEnd(t *file) error {
	info, err := t.open.Stat()
	if err != nil {
		return err
	}
	for end := info.Size(); end > 0; {
		begin := max(0, end-int64(len(f.buffer)))
		part := f.buffer[:end-begin]
		if _, err := t.open.ReadAt(part, begin); err != nil {
			return f.startAt(t, 0)
		}
		if at := bytes.LastIndexByte(part, '\n'); at >= 0 {
			return f.startAt(t, uint64(begin)+uint64(at)+1)
		}
		end = begin
	}
	return f.startAt(t, 0)
}

// begunAnew goes on with a file that has other content than before: what the
// copies of it have beyond what was read is read there.
func (f *Follower) begunAnew(ctx context.Context, t *file) error {
	f.o.Logger.Info("a file began anew", "path", t.path, "read", t.offset)
	f.remember(t)
	was, generation := t.head, t.generation
	if t.offset > 0 { // else nothing is stored of this one, and the next start would not find the next
		generation++
	}
	t.known, t.size, t.ended, t.scanned, t.offset, t.before = false, 0, false, 0, 0, nil
	begin, ok, err := readHead(t.open, f.o.Header)
	if err != nil {
		f.o.Logger.Warn("a file can not be read at present", "path", t.path, "error", err)
	}
	if !ok {
		return nil // the next look meets it again
	}
	if bytes.Equal(begin, was) {
		t.head, t.generation = begin, generation
		t.source = f.o.sourceName(begin, t.id, t.generation)
		return f.startAt(t, 0)
	}
	met, err := f.resume(ctx, t, begin, 0)
	if err != nil || met {
		return err
	}
	return f.startAt(t, 0)
}

// remember keeps what a file had, for copies of it that turn up later, and has
// those that are known read on.
func (f *Follower) remember(t *file) {
	if !t.known || t.copyOf != nil {
		return
	}
	if t.offset > 0 { // else there is nothing that a copy would go on after
		if len(f.former) == maxFormer {
			f.former = slices.Delete(f.former, 0, 1)
		}
		f.former = append(f.former, former{t.head, slices.Clone(t.before), t.offset})
	}
	for _, other := range f.files {
		if other.copyOf != t {
			continue
		}
		if other.source == "" {
			other.source = f.o.sourceName(other.head, other.id, other.generation)
		}
		if err := f.startAt(other, t.offset); err != nil {
			f.o.Logger.Warn("a copy can not be read", "path", other.path, "error", err)
		}
	}
}

// compareCopies reads files by themselves that have turned out not to be copies.
func (f *Follower) compareCopies() {
	for _, t := range f.files {
		if t.copyOf == nil {
			continue
		}
		if same, err := isCopy(t.open, t.copyOf.open); err != nil || same {
			continue
		}
		if t.copyOf.check(1<<62) != nil {
			continue // it is the other that began anew, which reading notices
		}
		if err := f.startAt(t, 0); err != nil {
			f.o.Logger.Warn("a file can not be read at present", "path", t.path, "error", err)
		}
	}
}
