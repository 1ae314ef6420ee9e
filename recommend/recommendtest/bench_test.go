package recommendtest_test

import (
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/association"
	"millrace/recommend/heat"
	"millrace/recommend/pairs"
	"millrace/recommend/recommendtest"
	"millrace/recommend/sequence"
)

type events = operator.Stream[event.Enriched]

var types = event.DefaultTypes()

func neighbors(in events) {
	pairs.Add(in, association.StageCooccurrence, association.StageNeighbors, types,
		pairs.TrailOptions{Items: association.Defaults().Neighbors.Items}, association.Defaults().Neighbors.Rows)
}

// What each of the operators that learn of pairs and of popularity costs, on
// one shard, and all of them together.
func benchmark(b *testing.B, block int, list []event.Enriched) {
	for _, c := range []struct {
		name string
		wire func(in events)
	}{
		{"nothing", func(events) {}},
		{"neighbors", neighbors},
		{"association", func(in events) { association.Add(in, types, association.Defaults()) }},
		{"sequence", func(in events) { sequence.Add(in, types, sequence.Defaults()) }},
		{"heat", func(in events) { heat.Add(in, types, heat.Defaults()) }},
		{"all", func(in events) {
			association.Add(in, types, association.Defaults())
			sequence.Add(in, types, sequence.Defaults())
			heat.Add(in, types, heat.Defaults())
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			recommendtest.Measure(b, func() *operator.Topology { return recommendtest.Topology(c.wire) }, 1, block, list)
		})
	}
}

func BenchmarkShop(b *testing.B) {
	benchmark(b, 4096, recommendtest.Shop{Users: 20_000, Items: 5_000, PerSecond: 50, Seed: 1}.Events(300_000))
}

func BenchmarkShopInSmallBlocks(b *testing.B) {
	benchmark(b, 16, recommendtest.Shop{Users: 20_000, Items: 5_000, PerSecond: 50, Seed: 1}.Events(100_000))
}

func BenchmarkMovieLens(b *testing.B) {
	benchmark(b, 4096, recommendtest.MovieLens(b, "../..", 400_000))
}
