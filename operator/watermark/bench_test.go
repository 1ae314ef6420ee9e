package watermark

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"millrace/event"
)

// benchTimes are event times that rise by about a millisecond a record, some
// of them a few hundred milliseconds late.
func benchTimes() []event.Time {
	random := rand.New(rand.NewPCG(1, 1))
	times := make([]event.Time, 1<<14)
	for i := range times {
		times[i] = 1_700_000_000_000 + event.Time(i)
		if random.IntN(4) == 0 {
			times[i] -= event.Time(random.IntN(500))
		}
	}
	return times
}

// BenchmarkStrategy is Watermark and Observe of one record.
func BenchmarkStrategy(b *testing.B) {
	times := benchTimes()
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			b.ReportAllocs()
			s := kind.make()
			i, round := 0, event.Time(0)
			for b.Loop() {
				sink = s.Watermark()
				t := times[i] + round
				s.Observe(t, t, i&15 == 0)
				if i++; i == len(times) {
					i, round = 0, round+event.Time(len(times))
				}
			}
		})
	}
}

// BenchmarkCombined is the same for several partitions in turn.
func BenchmarkCombined(b *testing.B) {
	times := benchTimes()
	for _, kind := range kinds {
		if kind.name != "bounded" && kind.name != "dynamic" {
			continue
		}
		for _, n := range []int{1, 4, 64} {
			b.Run(fmt.Sprint(kind.name, "/", n), func(b *testing.B) {
				b.ReportAllocs()
				c := NewCombined(n, event.Minute, kind.make)
				i, partition, round := 0, 0, event.Time(0)
				for b.Loop() {
					sink = c.Watermark()
					t := times[i] + round
					c.Observe(partition, t, t, i&15 == 0)
					if partition++; partition == n {
						partition = 0
					}
					if i++; i == len(times) {
						i, round = 0, round+event.Time(len(times))
					}
				}
			})
		}
	}
}
