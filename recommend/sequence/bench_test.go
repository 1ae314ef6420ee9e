package sequence_test

import (
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/recommendtest"
)

func door() *operator.Topology {
	return recommendtest.Topology(func(operator.Stream[event.Enriched]) {})
}

func BenchmarkShop(b *testing.B) {
	events := recommendtest.Shop{Users: 20_000, Items: 5_000, PerSecond: 50, Seed: 1}.Events(300_000)
	b.Run("nothing", func(b *testing.B) { recommendtest.Measure(b, door, 1, 4096, events) })
	b.Run("sequence", func(b *testing.B) { recommendtest.Measure(b, build, 1, 4096, events) })
}

func BenchmarkMovieLens(b *testing.B) {
	events := recommendtest.MovieLens(b, "../..", 400_000)
	b.Run("nothing", func(b *testing.B) { recommendtest.Measure(b, door, 1, 4096, events) })
	b.Run("sequence", func(b *testing.B) { recommendtest.Measure(b, build, 1, 4096, events) })
}
