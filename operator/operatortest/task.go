package operatortest

import (
	"fmt"
	"slices"

	"millrace/event"
	"millrace/operator"
)

// task is one shard of one stage.
type task struct {
	node    *operator.Node
	ttl     *operator.TTL
	raw     operator.Raw
	keys    map[string]*keyed
	inputs  []*queue
	chained []*task
	down    map[int][]*queue // by downstream stage, by shard
	mark    event.Time       // how far event time has come
	now     event.Time       // how far processing time has
	due     timers           // in event time
	clock   timers           // in processing time
	ends    timers           // of what the TTL allows
	touched map[string]bool
	// broadcast says that the instance has had a record that every instance gets.
	broadcast bool
}

// keyed is a key's state, and what the stored header holds of it.
type keyed struct {
	state              any
	timers, processing []event.Time
	stamp              event.Time
}

// advance fires the timers up to the watermark, in the order of their times,
// and then drops the keys whose time is over.
func (k *task) advance(mark event.Time) {
	k.mark = mark
	for {
		key, ok := k.due.pop(mark, func(t timer) bool {
			s := k.keys[t.key]
			return s != nil && slices.Contains(s.timers, t.at)
		})
		if !ok {
			break
		}
		k.fire(key, k.keys[key])
	}
	if k.ttl != nil && k.ttl.EventTime {
		k.expire(mark)
	}
}

// advanceProcessing does so in processing time.
func (k *task) advanceProcessing(now event.Time) {
	k.setNow(now)
	for {
		key, ok := k.clock.pop(now, func(t timer) bool {
			s := k.keys[t.key]
			return s != nil && slices.Contains(s.processing, t.at)
		})
		if !ok {
			break
		}
		s := k.keys[key]
		at := s.processing[0]
		if !k.ttlIn(false) || k.end(s) >= at {
			s.processing = slices.Delete(s.processing, 0, 1)
			k.raw.Context().Begin(operator.Meta{Time: at, Watermark: k.mark})
			k.raw.ProcessingTimer(key, s.state, at)
			k.effects(key, s, call{passed: k.mark, clock: at, used: max(at, k.mark+1), timer: true})
		} else {
			k.drop(key)
		}
	}
	if k.ttlIn(false) {
		k.expire(now)
	}
}

func (k *task) setNow(now event.Time) {
	k.now = now
	k.raw.Context().SetProcessingTime(now)
}

// fire calls the operator for the key's first timer, unless the key's time was
// over before.
func (k *task) fire(key string, s *keyed) {
	at := s.timers[0]
	if k.ttlIn(true) && k.end(s) < at {
		k.drop(key)
		return
	}
	s.timers = slices.Delete(s.timers, 0, 1)
	k.raw.Context().Begin(operator.Meta{Time: at, Watermark: at - 1})
	k.raw.Timer(key, s.state, at)
	k.effects(key, s, call{passed: at, clock: k.now, used: at, timer: true})
}

// ttlIn reports whether the stage has a TTL in event time, or in processing
// time.
func (k *task) ttlIn(eventTime bool) bool { return k.ttl != nil && k.ttl.EventTime == eventTime }

// end is when a key's time is over.
func (k *task) end(s *keyed) event.Time {
	if s.stamp == event.MinTime {
		return event.MaxTime + 1
	}
	return s.stamp + k.ttl.After
}

// stamp notes when a key was used.
func (k *task) stamp(key string, s *keyed, at event.Time) {
	s.stamp = at
	k.ends.push(k.end(s), key)
}

// expire drops the keys whose time is over.
func (k *task) expire(now event.Time) {
	for {
		key, ok := k.ends.pop(now, func(t timer) bool {
			s := k.keys[t.key]
			return s != nil && k.end(s) == t.at
		})
		if !ok {
			return
		}
		k.drop(key)
	}
}

// drop forgets a key.
func (k *task) drop(key string) {
	delete(k.keys, key)
	k.touched[key] = true
}

// find is a key's state, new if it has none or if its time is over. In a stage
// that sees records in order, its timers that the record's watermark has passed
// fire before: a chained stage may be sent to before its own watermark.
func (k *task) find(key string, m operator.Meta) (s *keyed, fresh bool) {
	if k.node.Ordered {
		for s := k.keys[key]; s != nil && len(s.timers) > 0 && s.timers[0] <= m.Watermark; s = k.keys[key] {
			k.fire(key, s)
		}
		if s := k.keys[key]; s != nil && k.ttlIn(true) && k.end(s) <= m.Watermark {
			k.drop(key)
		}
	}
	if s := k.keys[key]; s != nil {
		return s, false
	}
	s = &keyed{state: k.raw.NewState(), stamp: event.MinTime}
	k.keys[key] = s
	return s, true
}

func (e *Engine[T]) fold(k *task, m operator.Meta, record any) {
	if k.raw.IsBroadcast(record) {
		k.raw.Broadcast(m, record)
		k.broadcast = true
		return
	}
	key, _ := k.raw.Key(record)
	s, fresh := k.find(key, m)
	k.raw.Context().Begin(m)
	k.raw.Fold(key, s.state, record)
	k.effects(key, s, call{passed: m.Watermark, clock: k.now, used: m.Effective(), fresh: fresh})
	if e.random != nil && e.random.IntN(64) == 0 {
		k.answer()
	}
}

// call is what the effects of a call depend on besides what it asked for.
type call struct {
	passed event.Time // the watermark, or the time of the timer
	clock  event.Time // processing time, or the time of the timer in it
	used   event.Time // the event time at which the key was used
	timer  bool       // a timer is gone, so something has changed
	fresh  bool       // the key was not known before
}

// refuse panics if a timer is set that is not after what has passed, see
// operator.Context.SetTimer and SetProcessingTimer.
func (k *task) refuse(key string, set []event.Time, passed event.Time) {
	for _, at := range set {
		if at <= passed {
			panic(fmt.Sprintf("operatortest: stage %s, key %q: a timer is set for %v, but %v has passed: "+
				"when it fires would depend on the engine; use Effective, or ProcessingTime", k.node.Name, key, at, passed))
		}
	}
}

// effects carries out what a call asked for.
func (k *task) effects(key string, s *keyed, c call) {
	effects := k.raw.Context().Effects()
	k.refuse(key, effects.Set, c.passed)
	k.refuse(key, effects.ProcessingSet, c.clock)
	changed := c.timer || !effects.Unchanged
	changed = k.due.edit(key, &s.timers, effects.Set, effects.Unset) || changed
	changed = k.clock.edit(key, &s.processing, effects.ProcessingSet, effects.ProcessingUnset) || changed
	changed = k.use(key, s, c.used, changed) || changed
	switch {
	case effects.Forget:
		k.drop(key)
	case changed:
		k.touched[key] = true
	case c.fresh:
		delete(k.keys, key) // the operator took no notice of the key: neither do we
	}
}

// edit takes back and adds timers of a key, and reports whether any changed.
func (q *timers) edit(key string, list *[]event.Time, set, unset []event.Time) bool {
	before := slices.Clone(*list)
	*list = slices.DeleteFunc(*list, func(t event.Time) bool { return slices.Contains(unset, t) })
	*list = append(*list, set...)
	slices.Sort(*list)
	*list = slices.Compact(*list)
	for _, at := range set {
		q.push(at, key)
	}
	return !slices.Equal(before, *list)
}

// use notes for the TTL that a key was used, and reports whether that is a
// change. A key that is not there is not made by reading it.
func (k *task) use(key string, s *keyed, at event.Time, changed bool) bool {
	if k.ttl == nil || !changed && (!k.ttl.OnRead || s.stamp == event.MinTime) {
		return false
	}
	if !k.ttl.EventTime {
		at = k.now
	}
	if at <= s.stamp {
		return false
	}
	k.stamp(key, s, at)
	return true
}

// answer lets the operator answer for every key that changed.
func (k *task) answer() {
	for key := range k.touched {
		if s := k.keys[key]; s != nil {
			k.raw.Answer(key, s.state)
		} else {
			k.raw.Answer(key, nil)
		}
	}
	clear(k.touched)
}
