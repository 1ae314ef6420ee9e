package association

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// windowsVersion is the version of the form in which users' windows are stored.
const windowsVersion = 1

// Led says that in a window of a user an item was seen before others.
type Led struct {
	WindowStart event.Time `json:"window_start"`
	Item        string     `json:"item_id"`
	Count       uint32     `json:"count"`
	// After are the items that were first seen later. The slice never changes.
	After []Counted `json:"after"`
}

// Counted is how often an item was seen in a window of a user.
type Counted struct {
	Item  string `json:"item_id"`
	Count uint32 `json:"count"`
}

// Late is an event that came after its window had closed.
type Late struct {
	WindowStart event.Time `json:"window_start"`
	User        string     `json:"user_id"`
	Item        string     `json:"item_id"`
}

// addWindows adds the stage that is keyed by user.
func addWindows(in operator.Stream[event.Enriched], o Options) operator.Handle {
	return operator.Chain(in, operator.Stage[string, visits, event.Enriched]{
		Name:    StageWindows,
		Subject: operator.SubjectUser,
		Version: windowsVersion,
		Key:     func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, visits, event.Enriched] {
			return &windows{options: o, led: operator.Out[Led](p, PortLed), late: operator.Out[Late](p, PortLate)}
		},
	})
}

// visits are a user's open windows, in the order in which they opened.
type visits []visit

// visit is an open window of a user.
type visit struct {
	start event.Time
	seen  []seen // in the order in which they came
}

// seen is an item of a window.
type seen struct {
	Counted
	first event.Time // the least event time
}

// windows is the operator of the user's stage.
type windows struct {
	options Options
	led     *operator.Output[Led]
	late    *operator.Output[Late]
	order   []seen   // scratch
	free    [][]seen // of windows that have ended, for new ones
}

// Fold counts an event in its window.
func (o *windows) Fold(c *operator.Context, user string, s *visits, e *event.Enriched) {
	if e.Type == event.TypeImpression {
		c.Unchanged()
		return
	}
	t, passed := e.Time, c.Watermark
	if o.options.ProcessingTime {
		t, passed = c.ProcessingTime(), event.MinTime
	}
	start := event.WindowStart(t, o.options.Window)
	if start+o.options.Window-1 <= passed {
		c.Unchanged()
		o.late.Emit(e.Time, Late{start, user, e.Item})
		return
	}
	at := slices.IndexFunc(*s, func(v visit) bool { return v.start == start })
	if at < 0 {
		at = len(*s)
		*s = append(*s, visit{start, o.take()})
		o.options.await(c, start)
	}
	if !(*s)[at].see(e.Item, e.Time, o.options.Items) {
		c.Unchanged()
	}
}

// see counts an item, unless it would be one more than the most.
func (v *visit) see(item string, t event.Time, most int) bool {
	for i := len(v.seen) - 1; i >= 0; i-- {
		if k := &v.seen[i]; k.Item == item {
			if k.Count < math.MaxUint32 {
				k.Count++
			}
			k.first = min(k.first, t)
			return true
		}
	}
	if len(v.seen) == most {
		return false
	}
	v.seen = append(v.seen, seen{Counted{item, 1}, t})
	return true
}

// ProcessingTimer ends a window that goes by processing time.
func (o *windows) ProcessingTimer(c *operator.Context, user string, s *visits, at event.Time) {
	o.Timer(c, user, s, at-1)
}

// await sets the timer for the end of a window.
func (o *Options) await(c *operator.Context, start event.Time) {
	if o.ProcessingTime {
		c.SetProcessingTimer(start + o.Window)
	} else {
		c.SetTimer(start + o.Window - 1)
	}
}

// Timer ends a window: it tells each item but the last which came after it.
func (o *windows) Timer(c *operator.Context, _ string, s *visits, at event.Time) {
	i := slices.IndexFunc(*s, func(v visit) bool { return v.start+o.options.Window-1 == at })
	if i < 0 {
		return
	}
	v := (*s)[i]
	*s = slices.Delete(*s, i, i+1)
	if len(*s) == 0 {
		c.Forget()
	}
	o.order = append(o.order[:0], v.seen...)
	o.give(v.seen)
	if len(o.order) < 2 {
		return
	}
	slices.SortFunc(o.order, func(a, b seen) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.Item, b.Item))
	})
	items := make([]Counted, len(o.order))
	for i, k := range o.order {
		items[i] = k.Counted
	}
	for i, k := range items[:len(items)-1] {
		o.led.Emit(at, Led{v.start, k.Item, k.Count, items[i+1:]})
	}
}

// kept bounds how many lists are kept for new windows.
const kept = 1024

func (o *windows) take() []seen {
	n := len(o.free)
	if n == 0 {
		return nil
	}
	list := o.free[n-1]
	o.free = o.free[:n-1]
	return list
}

func (o *windows) give(list []seen) {
	if len(o.free) < kept {
		clear(list)
		o.free = append(o.free, list[:0])
	}
}

// Append appends a user's windows.
func (o *windows) Append(dst []byte, s *visits) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(*s)))
	for _, v := range *s {
		dst = wire.AppendVarint(dst, int64(v.start))
		dst = wire.AppendUvarint(dst, uint64(len(v.seen)))
		for _, k := range v.seen {
			dst = wire.AppendString(dst, k.Item)
			dst = wire.AppendUvarint(dst, uint64(k.Count))
			dst = wire.AppendVarint(dst, int64(k.first-v.start))
		}
	}
	return dst
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *windows) Load(version uint8, src []byte, s *visits) error {
	if version != windowsVersion {
		return fmt.Errorf("association: windows of version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	for range r.Count() {
		v := visit{start: event.Time(r.Varint())}
		for range r.Count() {
			k := seen{Counted{r.String(), readUint32(r)}, v.start + event.Time(r.Varint())}
			if r.Err() != nil {
				return r.Err()
			}
			v.seen = append(v.seen, k)
		}
		*s = append(*s, v)
	}
	return r.End()
}

func readUint32(r *wire.Reader) uint32 {
	v := r.Uvarint()
	if v > math.MaxUint32 {
		r.Fail(wire.ErrCorrupt)
	}
	return uint32(v)
}
