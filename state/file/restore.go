package file

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"millrace/operator"
	"millrace/state"
	"millrace/state/memory"
)

// restorer finds the newest point that can be restored. Every point has a
// delta, a full snapshot, or both; a way to it begins with the full snapshot
// of it or of a point before it, and goes on with the deltas in between.
type restorer struct {
	dir     *directory
	files   map[uint64][2]string // names by sequence number: delta, full
	headers map[string]*header   // that were read
	bad     map[string]error     // files that are damaged
}

func newRestorer(dir *directory) *restorer {
	r := &restorer{dir: dir, files: map[uint64][2]string{}, headers: map[string]*header{}, bad: map[string]error{}}
	for name := range dir.sizes {
		h, _ := parseName(name)
		names := r.files[h.at.seq]
		names[kind(h.full)] = name
		r.files[h.at.seq] = names
	}
	return r
}

func kind(full bool) int {
	if full {
		return 1
	}
	return 0
}

// restored is what a restorer found.
type restored struct {
	latest  *state.Checkpoint // nil if nothing was ever stored
	state   *memory.Backend
	history history
	skipped []skipped // points that are newer but damaged
}

// skipped is a newer point that could not be restored.
type skipped struct {
	seq uint64
	err error
}

// newest restores the newest point of which all files are whole. If there are
// files but none, it returns the damage of the newest.
func (r *restorer) newest() (*restored, error) {
	found := &restored{state: memory.New()}
	for _, seq := range slices.Backward(slices.Sorted(maps.Keys(r.files))) {
		err := r.restore(seq, found)
		if err == nil {
			found.history, err = r.history(seq)
			return found, err
		}
		if !errors.Is(err, state.ErrCorrupt) {
			return nil, err
		}
		found.skipped = append(found.skipped, skipped{seq, err})
	}
	if len(found.skipped) > 0 {
		return nil, fmt.Errorf("%w; no older checkpoint is whole", found.skipped[0].err)
	}
	return found, nil
}

// restore restores a point, on another way each time that a file turns out to
// be damaged, until there is none.
func (r *restorer) restore(seq uint64, to *restored) error {
	for {
		way, err := r.way(seq)
		if err != nil {
			return err
		}
		if err = r.load(way, to); err == nil || !errors.Is(err, state.ErrCorrupt) {
			return err
		}
	}
}

// way lists the files that lead to a point, from the full snapshot on.
func (r *restorer) way(seq uint64) ([]*header, error) {
	var way []*header
	for next := (point{seq: seq}); ; {
		h, err := r.usable(next, len(way) > 0)
		if err != nil {
			return nil, err
		}
		way = append(way, h)
		if h.parent.seq == 0 {
			slices.Reverse(way)
			return way, nil
		}
		next = h.parent
	}
}

// usable returns the file to take for a point: the full snapshot if it is not
// known to be damaged, else the delta. A child demands that it is exactly the
// point on which it was made.
func (r *restorer) usable(at point, exactly bool) (*header, error) {
	var damage error
	for _, name := range slices.Backward(r.names(at.seq)) {
		h, err := r.header(name)
		if err == nil && exactly && h.at != at {
			err = fmt.Errorf("%s: %w: a checkpoint of %v was expected, it is of %v", name, state.ErrCorrupt, at.time, h.at.time)
			r.bad[name] = err
		}
		if err == nil || !errors.Is(err, state.ErrCorrupt) {
			return h, err
		}
		if damage == nil {
			damage = err
		}
	}
	if damage == nil {
		damage = fmt.Errorf("chk-%012d-%d: %w: the file is missing", at.seq, at.block, state.ErrCorrupt)
	}
	return nil, damage
}

// names are the files of a point, the delta first.
func (r *restorer) names(seq uint64) []string {
	names := r.files[seq]
	return slices.DeleteFunc(names[:], func(name string) bool { return name == "" })
}

// header reads what a file is, once, and remembers whether it is damaged.
func (r *restorer) header(name string) (*header, error) {
	if err := r.bad[name]; err != nil {
		return nil, err
	}
	if h := r.headers[name]; h != nil {
		return h, nil
	}
	file, closer, err := r.dir.read(name, 4<<10)
	if err != nil {
		return nil, err
	}
	h, err := file.header()
	if err = errors.Join(err, closer.Close()); err == nil && h.name() != name {
		err = file.damaged(0, "it was %s", h.name())
	}
	if err != nil {
		if errors.Is(err, state.ErrCorrupt) {
			r.bad[name] = err
		}
		return nil, err
	}
	r.headers[name] = h
	return h, nil
}

// load makes the state of a way. It notes a file that is damaged.
func (r *restorer) load(way []*header, to *restored) error {
	to.state = memory.New()
	for _, h := range way {
		if err := r.apply(h, to.state); err != nil {
			if errors.Is(err, state.ErrCorrupt) {
				r.bad[h.name()] = err
			}
			return err
		}
	}
	last := way[len(way)-1]
	to.latest = &state.Checkpoint{Block: last.at.block, Time: last.at.time, Meta: last.meta}
	_, err := to.state.Commit(to.latest)
	return err
}

func (r *restorer) apply(h *header, to *memory.Backend) error {
	file, closer, err := r.dir.read(h.name(), frameBytes)
	if err != nil {
		return err
	}
	if _, err = file.header(); err == nil {
		err = file.contents(&merge{to, h.at.block})
	}
	return errors.Join(err, closer.Close())
}

// merge applies the changes of files to a state in memory.
type merge struct {
	to    *memory.Backend
	block uint64
}

func (m *merge) write(stage string, writes []operator.StateWrite) error {
	_, err := m.to.Commit(&state.Checkpoint{Block: m.block, Tables: []state.Table{{Stage: stage, Writes: writes}}})
	return err
}

func (m *merge) drop(stage string) error { return m.to.Drop(stage) }

// history follows the parents from a point as far back as there are files.
func (r *restorer) history(seq uint64) (history, error) {
	var points history
	for next := (point{seq: seq}); next.seq > 0; {
		var entry entry
		from := point{}
		for _, name := range r.names(next.seq) {
			h, err := r.header(name)
			if err != nil && !errors.Is(err, state.ErrCorrupt) {
				return nil, err
			}
			if err != nil || len(points) > 0 && h.at != next {
				continue
			}
			entry.point = h.at
			entry.names[kind(h.full)] = name
			entry.bytes[kind(h.full)] = r.dir.size(name)
			if !h.full {
				from = h.parent
				entry.alone = from.seq == 0
			}
		}
		if entry.names == [2]string{} {
			break
		}
		points = append(points, entry)
		next = from
	}
	slices.Reverse(points)
	return points, nil
}
