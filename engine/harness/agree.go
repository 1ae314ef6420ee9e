package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

// agree demands that all engines have emitted, answer and hold the same.
func (h *Harness[T]) agree() {
	h.t.Helper()
	first := h.runs[0]
	emitted, views, state := first.take(), first.views(), first.state()
	for _, r := range h.runs[1:] {
		if text := h.differentRecords(emitted, r.take()); text != "" {
			h.t.Fatalf("%s and %s have emitted different records:\n%s", first.name(), r.name(), text)
		}
		if other := r.state(); !reflect.DeepEqual(state, other) {
			h.t.Fatalf("%s and %s hold different state:\n%s", first.name(), r.name(), difference(state, other))
		}
		if text := differentViews(views, r.views()); text != "" {
			h.t.Fatalf("%s and %s answer differently:\n%s", first.name(), r.name(), text)
		}
	}
	h.emitted = append(h.emitted, emitted...)
}

// byPort are lists of what each port has emitted.
func byPort(all []emission) map[string][]emission {
	ports := map[string][]emission{}
	for _, e := range all {
		ports[e.port] = append(ports[e.port], e)
	}
	return ports
}

// differentRecords compares what ports have emitted, in any order.
func (h *Harness[T]) differentRecords(first, second []emission) (text string) {
	a, b := byPort(first), byPort(second)
	for _, name := range ports(a, b) {
		if slices.Contains(h.options.Running, name) {
			continue
		}
		left := b[name]
		for _, e := range a[name] {
			i := slices.IndexFunc(left, e.equal)
			if i < 0 {
				text += fmt.Sprintf("  %s, only the first: %d %+v\n", name, e.time, e.record)
				continue
			}
			left = slices.Delete(left, i, i+1)
		}
		for _, e := range left {
			text += fmt.Sprintf("  %s, only the second: %d %+v\n", name, e.time, e.record)
		}
	}
	return text
}

// equal compares two emissions of a port. Records that write their own JSON may
// hold what only the instance that has emitted them understands.
func (e emission) equal(o emission) bool {
	if e.time != o.time {
		return false
	}
	if reflect.DeepEqual(e.record, o.record) {
		return true
	}
	a, ok := e.pointer().(json.Marshaler)
	if !ok {
		return false
	}
	b, _ := o.pointer().(json.Marshaler)
	x, err := a.MarshalJSON()
	y, other := b.MarshalJSON()
	return err == nil && other == nil && bytes.Equal(x, y)
}

// pointer points to the record, or to a copy.
func (e emission) pointer() any {
	p := reflect.New(reflect.TypeOf(e.record))
	p.Elem().Set(reflect.ValueOf(e.record))
	return p.Interface()
}

// ports are the keys of two maps, sorted.
func ports[V any](a, b map[string]V) []string {
	all := slices.Collect(maps.Keys(a))
	all = slices.AppendSeq(all, maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}

// difference is what is different in two states, for people.
func difference(a, b map[string]map[string][]byte) (text string) {
	for _, stage := range ports(a, b) {
		for _, key := range ports(a[stage], b[stage]) {
			if x, y := a[stage][key], b[stage][key]; !bytes.Equal(x, y) {
				text += fmt.Sprintf("  stage %s, key %q: %x and %x\n", stage, key, x, y)
			}
		}
	}
	return text
}

func differentViews(a, b map[string]map[string]operator.Value) (text string) {
	for _, view := range ports(a, b) {
		for _, key := range ports(a[view], b[view]) {
			if x, y := stored(a[view][key]), stored(b[view][key]); !bytes.Equal(x, y) {
				text += fmt.Sprintf("  view %s, key %q: %x and %x\n", view, key, x, y)
			}
		}
	}
	return text
}

// stored is an answer's byte form, with a byte before it if there is one.
func stored(v operator.Value) []byte {
	if v == nil {
		return nil
	}
	b, err := v.AppendBinary([]byte{1})
	if err != nil {
		return fmt.Append(nil, err)
	}
	return b
}

// Snapshot is the state of all stages and how far time has come, as a
// checkpoint has it.
func (h *Harness[T]) Snapshot() []byte {
	h.t.Helper()
	h.Flush()
	b := wire.AppendVarint(nil, int64(h.mark))
	b = wire.AppendVarint(b, int64(h.now))
	var source []byte
	if h.source != nil {
		source = h.source.AppendTo(nil)
	}
	b = wire.AppendBytes(b, source)
	all := h.runs[0].state()
	for _, stage := range slices.Sorted(maps.Keys(all)) {
		for _, key := range slices.Sorted(maps.Keys(all[stage])) {
			b = wire.AppendString(wire.AppendString(b, stage), key)
			b = wire.AppendBytes(b, all[stage][key])
		}
	}
	return b
}

// Restore goes on from a snapshot, of this harness or of another one, with so
// many shards. What was emitted and not yet asked for is gone, and views hold
// what the restored keys answer.
func (h *Harness[T]) Restore(snapshot []byte, shards int) {
	h.t.Helper()
	r := wire.NewReader(snapshot)
	h.mark, h.now = event.Time(r.Varint()), event.Time(r.Varint())
	if source := r.Bytes(); len(source) > 0 && h.options.Watermarks != nil {
		h.source = watermark.NewCombined(h.options.Partitions, 0, h.options.Watermarks)
		if err := h.source.Load(wire.NewReader(source)); err != nil {
			h.t.Fatalf("restore the watermark: %v", err)
		}
	}
	h.began = h.mark
	first := 1
	if h.options.follow {
		first = shards
	}
	h.begin(first, shards)
	for r.Err() == nil && r.Len() > 0 {
		stage, key, value := r.String(), r.String(), slices.Clone(r.Bytes())
		for _, run := range h.runs {
			if err := run.load(stage, key, value); err != nil {
				h.t.Fatalf("%s: %v", run.name(), err)
			}
		}
	}
	if r.Err() != nil {
		h.t.Fatalf("restore: %v", r.Err())
	}
	for _, run := range h.runs {
		if err := run.resume(h.mark, h.now); err != nil {
			h.t.Fatalf("%s: %v", run.name(), err)
		}
	}
	h.agree()
}
