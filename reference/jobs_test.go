package reference_test

import (
	"context"
	"fmt"
	"testing"

	"millrace/engine/job"
	"millrace/reference"
	viewmemory "millrace/view/memory"
)

// The published results, see ../shared/peers/flink-jobs.md.
var published = map[string]map[uint64]reference.Digest{
	"J1": {1_000_000: {1000000, 0xf9c8762e488635a0}, 2_000_000: {2000000, 0xed8c5e91822ac9cb}},
	"J2": {1_000_000: {1282895, 0x082bcec7d7910a4a}, 2_000_000: {2635973, 0x6db64f4e0deee106}},
	"J3": {1_000_000: {698213, 0xe8877750e03f007f}, 2_000_000: {1278022, 0x8945206ededb3ad3}},
	"J4": {1_000_000: {1000000, 0xe674677d0565e098}, 2_000_000: {2000000, 0x3a8e1a4087c06b5f}},
	"J5": {1_000_000: {1134498, 0xe435b4d69e6ce460}, 2_000_000: {2243549, 0xe05eeb33fa457e8b}},
	"J6": {1_000_000: {50984, 0x22129977de6a1add}, 2_000_000: {86611, 0x6694ec55e9a1ba64}},
}

func run(t testing.TB, name string, events uint64, o job.Options[reference.Event]) reference.Digest {
	t.Helper()
	o.Topology, o.Source = reference.Topology(name), reference.Generator{Events: events}
	o.Watermarks, o.Views = reference.Watermarks, viewmemory.New()
	j, err := job.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s := o.Views.Snapshot()
	defer s.Close()
	v, ok := s.Get(reference.ViewDigest, reference.DigestKey)
	if !ok {
		t.Fatal("no digest")
	}
	return *v.(*reference.Digest)
}

func TestJobsComeToThePublishedResults(t *testing.T) {
	for _, name := range reference.Names() {
		for i, events := range []uint64{1_000_000, 2_000_000} {
			shards := 1 + i
			t.Run(fmt.Sprint(name, " ", events, " ", shards, " shards"), func(t *testing.T) {
				if got, want := run(t, name, events, job.Options[reference.Event]{Shards: shards}), published[name][events]; got != want {
					t.Errorf("got %d rows, %016x; want %d, %016x", got.Rows, got.Sum, want.Rows, want.Sum)
				}
			})
		}
	}
}
