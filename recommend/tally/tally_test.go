package tally_test

import (
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"millrace/event/wire"
	"millrace/recommend/tally"
)

// Counts agree with a map, whatever is counted, and read back as written.
func TestCountsLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c tally.Counts
		want := map[string]int64{}
		for _, name := range rapid.SliceOf(rapid.SampledFrom([]string{"", "view", "click", "like", "ä"})).Draw(t, "names") {
			c.Add(name, 1)
			want[name]++
		}
		read := tally.Read(wire.NewReader(c.Append(nil)))
		for name, n := range want {
			if c.Of(name) != n || read.Of(name) != n {
				t.Fatalf("%q: %d, read back %d, want %d", name, c.Of(name), read.Of(name), n)
			}
		}
		if len(c) != len(want) || len(read) != len(want) || c.Of("never") != 0 {
			t.Fatalf("%v, read back %v, want %v", c, read, want)
		}
	})
}

// Equal counts have equal bytes, in whatever order they were counted.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c", "d"})).Draw(t, "names")
		var one, other tally.Counts
		for _, name := range names {
			one.Add(name, 1)
		}
		for _, name := range rapid.Permutation(names).Draw(t, "other order") {
			other.Add(name, 1)
		}
		if string(one.Append(nil)) != string(other.Append(nil)) {
			t.Fatalf("%v and %v", one, other)
		}
	})
}

func TestJSON(t *testing.T) {
	var c tally.Counts
	c.Add("view", 7)
	c.Add("click", 2)
	for name, x := range map[string]struct {
		counts tally.Counts
		want   string
	}{
		"some": {c, `{"click":2,"view":7}`},
		"none": {nil, `{}`},
	} {
		if got, err := json.Marshal(x.counts); string(got) != x.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, x.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, in := range map[string][]byte{
		"nothing":      nil,
		"truncated":    {2, 1, 'a', 2},
		"out of order": {2, 1, 'b', 2, 1, 'a', 2},
		"repeated":     {2, 1, 'a', 2, 1, 'a', 2},
		"huge count":   {255, 255, 255, 255, 15},
	} {
		r := wire.NewReader(in)
		if c := tally.Read(r); c != nil || !errors.Is(r.Err(), wire.ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, c, r.Err())
		}
	}
}
