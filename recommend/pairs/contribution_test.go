package pairs

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
)

// A contribution has the same partners in another process, where they have other
// numbers, also if its sender has had others in between.
func TestContributionsCross(t *testing.T) {
	near, far := contributionCodec(), contributionCodec()
	sender := NewNames()
	ids := rapid.StringMatching(`[a-c]{0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Pair {
			return Pair{ids.Draw(t, "partner"), rapid.Uint32().Draw(t, "weight")}
		}), 1, 40).Draw(t, "pairs")
		c := NewContribution(sender, ids.Draw(t, "item"), event.Time(rapid.Int64().Draw(t, "slice")), list...)
		b := near.Append(nil, &c)
		var again Contribution
		r := wire.NewReader(b)
		if far.Load(r, &again); r.End() != nil {
			t.Fatal(r.Err())
		}
		if again.Item != c.Item || again.Slice != c.Slice {
			t.Fatalf("got %q, %v, want %q, %v", again.Item, again.Slice, c.Item, c.Slice)
		}
		if diff := cmp.Diff(c.List(), again.List()); diff != "" {
			t.Fatal(diff)
		}
		r = wire.NewReader(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		if far.Load(r, &again); !errors.Is(r.End(), wire.ErrCorrupt) {
			t.Fatalf("a part of it: %v, want ErrCorrupt", r.Err())
		}
	})
}
