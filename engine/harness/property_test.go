package harness_test

import (
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

// drawTTL draws a TTL, or none.
func drawTTL(t *rapid.T) *operator.TTL {
	if rapid.IntRange(0, 3).Draw(t, "ttl") == 0 {
		return nil
	}
	return &operator.TTL{
		After: event.Duration(rapid.IntRange(1, 30).Draw(t, "after")), OnRead: rapid.Bool().Draw(t, "on read"),
		EventTime: rapid.Bool().Draw(t, "event time"),
	}
}

// Tables with slots, calendars, leases, checkpoints and evicted keys are what
// the maps of the block-less engine are: whatever comes in whatever order, with
// any blocks, with timers in both times, keys that are forgotten, and restores.
func TestTablesAreLikeMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := event.Duration(rapid.IntRange(0, 10).Draw(t, "bound"))
		o := harness.Options{
			Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) },
			Seed:       rapid.Uint64().Draw(t, "seed"),
		}
		source := o.Watermarks()
		h := harness.Stage(t, o, func(in operator.Stream[order]) {
			a := operator.Add(in, stage("a", drawTTL(t)))
			operator.Chain(operator.From[order](a, "next"), stage("b", drawTTL(t)))
			operator.Add(operator.Filter(in, func(o *order) bool { return o.Add > 2 }), stage("c", drawTTL(t)))
			operator.Add(operator.From[order](a, "next"), stage("d", nil))
		})
		keys := rapid.SampledFrom([]string{"k", "l", "m", "n", "o", "p", "q", "r"})
		clock, now := event.Time(0), event.Time(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0:
				h.Forget(operator.SubjectUser, keys.Draw(t, "key"))
			case 1:
				h.Restore(h.Snapshot(), rapid.IntRange(1, 9).Draw(t, "shards"))
			case 2, 3:
				h.Flush()
			case 4:
				now += event.Time(rapid.IntRange(0, 20).Draw(t, "passed"))
				h.ProcessingTime(now)
			default:
				clock += event.Time(rapid.IntRange(0, 6).Draw(t, "later"))
				in := order{Key: keys.Draw(t, "key"), Add: rapid.Int64Range(0, 5).Draw(t, "add")}
				at := clock - event.Time(rapid.IntRange(0, 12).Draw(t, "late"))
				m := operator.Stamp(source, at)
				switch rapid.IntRange(0, 7).Draw(t, "what") {
				case 0:
					in.Unchanged = true
				case 1:
					in.ForgetKey = true
				case 2, 3:
					in.Timer = m.Effective() + event.Time(rapid.IntRange(0, 25).Draw(t, "timer"))
				case 4:
					in.Clock = now + event.Time(rapid.IntRange(1, 25).Draw(t, "clock"))
				}
				h.Send(at, in)
			}
		}
		h.Watermark(event.MaxTime)
		h.ProcessingTime(now + 1000)
	})
}
