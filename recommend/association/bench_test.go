package association_test

import (
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/association"
	"millrace/recommend/pairs"
	"millrace/recommend/recommendtest"
)

func neighborsOnly() *operator.Topology {
	return recommendtest.Topology(func(events operator.Stream[event.Enriched]) {
		pairs.Add(events, "cooccurrence", "neighbors", event.DefaultTypes(), pairs.TrailOptions{Items: 20}, pairs.Defaults())
	})
}

func both() *operator.Topology { return build(association.Defaults()) }

func door() *operator.Topology {
	return recommendtest.Topology(func(operator.Stream[event.Enriched]) {})
}

func benchmark(b *testing.B, events []event.Enriched) {
	b.Run("nothing", func(b *testing.B) { recommendtest.Measure(b, door, 1, 4096, events) })
	b.Run("neighbors", func(b *testing.B) { recommendtest.Measure(b, neighborsOnly, 1, 4096, events) })
	b.Run("neighbors and job", func(b *testing.B) { recommendtest.Measure(b, both, 1, 4096, events) })
}

func BenchmarkShop(b *testing.B) {
	benchmark(b, recommendtest.Shop{Users: 20_000, Items: 5_000, PerSecond: 50, Seed: 1}.Events(300_000))
}

func BenchmarkMovieLens(b *testing.B) {
	benchmark(b, recommendtest.MovieLens(b, "../..", 400_000))
}
