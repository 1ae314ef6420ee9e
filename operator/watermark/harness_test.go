package watermark_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

// clerk says of each record whether it is late, and rings once a key when the
// watermark has passed its first record.
type clerk struct{ out *operator.Output[string] }

func (o *clerk) Fold(c *operator.Context, key string, s *int64, _ *string) {
	o.out.Emit(c.Time, fmt.Sprint(key, " late: ", c.Late(), " watermark: ", int64(c.Watermark)))
	if *s == 0 {
		c.SetTimer(c.Effective())
	}
	*s++
}

func (o *clerk) Timer(_ *operator.Context, key string, _ *int64, at event.Time) {
	o.out.Emit(at, key+" rings")
}

func (*clerk) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }
func (*clerk) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

// Under every strategy the same records are late, and timers fire after the
// same records, on all engines, in any blocks, restored at any time: what a
// strategy knows is in the snapshot.
func TestStrategiesOnAllEngines(t *testing.T) {
	for name, strategy := range map[string]func() watermark.Strategy{
		"monotonous": func() watermark.Strategy { return watermark.NewMonotonous() },
		"bounded":    func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(7) },
		"dynamic":    func() watermark.Strategy { return watermark.NewDynamic(2) },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				clock := event.Time(100)
				records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) harness.Record[string] {
					clock += event.Time(rapid.IntRange(0, 10).Draw(t, "passed"))
					return harness.At(clock-event.Time(rapid.IntRange(0, 20).Draw(t, "delay")),
						rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key"))
				}), 1, 40).Draw(t, "records")
				var want []string
				source := strategy()
				for _, r := range records {
					m := operator.Stamp(source, r.Time)
					want = append(want, fmt.Sprint(int64(r.Time), " ", r.Record, " late: ", m.Late(), " watermark: ", int64(m.Watermark)))
				}
				var first []string
				for range 2 {
					seed := rapid.Uint64().Draw(t, "seed")
					h := harness.Stage(t, harness.Options{Watermarks: strategy, Seed: seed}, func(in operator.Stream[string]) {
						operator.Add(in, operator.Stage[string, int64, string]{
							Name: "clerk", Version: 1, Key: func(key *string) string { return *key },
							New: func(p *operator.Ports) operator.Operator[string, int64, string] {
								return &clerk{operator.Out[string](p, "out")}
							},
						})
					})
					h.Play(seed, records)
					got := h.Rows()["clerk.out"]
					if first == nil {
						first = got
					}
					if diff := cmp.Diff(first, got); diff != "" {
						t.Fatalf("seed %d: %s", seed, diff)
					}
					for _, line := range want {
						i := slices.Index(got, line)
						if i < 0 {
							t.Fatalf("seed %d: %q is not in %q", seed, line, got)
						}
						got = append(got[:i:i], got[i+1:]...)
					}
				}
			})
		})
	}
}
