package plain_test

import (
	"context"
	"testing"

	"millrace/engine/job"
	"millrace/reference"
	"millrace/reference/plain"
	viewmemory "millrace/view/memory"
)

// The loops and the jobs come to the same, for sizes that nobody has published.
func TestLoopsComeToWhatTheJobsDo(t *testing.T) {
	g := reference.Generator{Events: 777_778, Users: 20_000}
	for _, name := range reference.Names() {
		views := viewmemory.New()
		j, err := job.New(job.Options[reference.Event]{
			Topology: reference.Topology(name), Source: g, Watermarks: reference.Watermarks, Views: views, Shards: 3,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		s := views.Snapshot()
		want, _ := s.Get(reference.ViewDigest, reference.DigestKey)
		s.Close()
		if got, ok := plain.Run(name, g); !ok || got != *want.(*reference.Digest) {
			t.Errorf("%s: the loop comes to %v, the job to %v", name, got, want)
		}
	}
	if _, ok := plain.Run("J7", g); ok {
		t.Error("there is no J7")
	}
}
