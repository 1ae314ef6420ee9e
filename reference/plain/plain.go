// Package plain is the reference jobs as loops without any engine: no keyed
// state, no exchange, no checkpoints, one goroutine. It uses the same
// algorithms (panes, an ordered list of interests) on arrays, and shows by the
// difference what the engine itself takes.
package plain

import (
	"io"
	"math"

	"millrace/engine/job"
	"millrace/event"
	"millrace/reference"
)

const (
	items      = 50_000
	categories = 50
	bound      = 5000
	gap        = 30 * event.Minute
)

// Run runs a job on generated events, false if there is none of the name.
func Run(name string, g reference.Generator) (reference.Digest, bool) {
	if g.Users == 0 {
		g.Users = reference.DefaultUsers
	}
	users := int(g.Users)
	var l loop
	switch name {
	case "J1":
		l = &counts{count: make([]uint64, users)}
	case "J2":
		l = newPairs(users)
	case "J3":
		l = newRates()
	case "J4":
		l = &profiles{of: make([][]interest, users)}
	case "J5":
		l = newWindows(users)
	case "J6":
		l = &sessions{of: make([]statistics, users), first: make([]event.Time, users), last: make([]event.Time, users)}
	default:
		return reference.Digest{}, false
	}
	d := &digest{}
	each(g, func(t event.Time, e *reference.Event) { l.event(d, t, e) })
	l.end(d)
	return d.Digest, true
}

// loop is a job.
type loop interface {
	event(d *digest, t event.Time, e *reference.Event)
	end(d *digest)
}

// each reads both partitions in turn, event by event, so that event time comes
// as it was made.
func each(g reference.Generator, fn func(event.Time, *reference.Event)) {
	var readers []job.Reader[reference.Event]
	for i := range g.Partitions() {
		r, err := g.Open(i, 0)
		if err != nil {
			panic(err) // a generator has nothing to go wrong
		}
		readers = append(readers, r)
	}
	for ended := false; !ended; {
		for _, r := range readers {
			_, err := r.Read(1, fn)
			ended = err == io.EOF //nolint:errorlint // it comes as it is
		}
	}
}

type digest struct{ reference.Digest }

func (d *digest) row(tag uint64, fields ...uint64) {
	x := tag
	for _, f := range fields {
		x = reference.Hash(x, f)
	}
	d.Rows++
	d.Sum += x
}

// counts is J1.
type counts struct{ count []uint64 }

func (l *counts) event(d *digest, _ event.Time, e *reference.Event) {
	l.count[e.User]++
	d.row(1, e.User, l.count[e.User])
}

func (l *counts) end(*digest) {}

// interest and profiles are J4.
type interest struct {
	score    float64
	category uint32
}

func (i interest) before(j interest) bool {
	return i.score > j.score || i.score == j.score && i.category < j.category
}

type profiles struct{ of [][]interest }

var weights = [...]float64{0.1, 0.3, 0.5, 1.0}

func (l *profiles) event(d *digest, t event.Time, e *reference.Event) {
	list, category, at := l.of[e.User], e.Item%categories, 0
	for at < len(list) && list[at].category != category {
		at++
	}
	if at == len(list) {
		list = append(list, interest{category: category})
		l.of[e.User] = list
	}
	now := interest{float64(0.9*list[at].score) + float64(0.1*weights[e.Type]), category}
	for ; at > 0 && now.before(list[at-1]); at-- {
		list[at] = list[at-1]
	}
	for ; at+1 < len(list) && list[at+1].before(now); at++ {
		list[at] = list[at+1]
	}
	list[at] = now
	x := reference.Hash(reference.Hash(4, e.User), uint64(t))
	for _, i := range list[:min(5, len(list))] {
		x = reference.Hash(reference.Hash(x, uint64(i.category)), math.Float64bits(i.score))
	}
	d.Rows++
	d.Sum += x
}

func (l *profiles) end(*digest) {}
