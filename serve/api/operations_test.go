package api

import (
	"strings"
	"testing"
	"time"
)

func TestAdvice(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	every10s := func(c Checkpoint) []Checkpoint {
		list := []Checkpoint{c, c, c}
		for i := range list {
			list[i].Started = start.Add(time.Duration(i) * 10 * time.Second)
		}
		return list
	}
	for _, c := range []struct {
		name    string
		history []Checkpoint
		says    []string
	}{
		{"none", nil, []string{"no checkpoint has finished"}},
		{"one that took long", []Checkpoint{{Started: start, Duration: time.Hour}}, nil},
		{"well", every10s(Checkpoint{Duration: time.Second, Stall: 2 * time.Millisecond, Bytes: 1 << 20}), nil},
		{"busy", every10s(Checkpoint{Duration: 8 * time.Second}), []string{"86 % of the time"}},
		{"stalling", every10s(Checkpoint{Duration: time.Second, Stall: 7500 * time.Microsecond}), []string{"waited 7.5 ms"}},
		{"large", every10s(Checkpoint{Duration: time.Second, Bytes: 3 << 29}), []string{"1.5 GiB"}},
		{"all of it", every10s(Checkpoint{Duration: 9 * time.Second, Stall: time.Second, Bytes: 1 << 40}), []string{"% of the time", "waited", "GiB"}},
	} {
		got := advise(c.history)
		if len(got) != len(c.says) {
			t.Errorf("%s: %q, want %q", c.name, got, c.says)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.says[i]) {
				t.Errorf("%s: %q, want %q", c.name, got[i], c.says[i])
			}
		}
	}
}
