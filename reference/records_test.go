package reference

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"millrace/event/wire"
)

// What crosses to another process arrives as it was sent.
func TestRecordsCross(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Event{rapid.Uint64().Draw(t, "user"), rapid.Uint32().Draw(t, "item"), rapid.Uint16().Draw(t, "value"), Type(rapid.IntRange(0, 3).Draw(t, "type"))}
		d := Digest{rapid.Uint64().Draw(t, "rows"), rapid.Uint64().Draw(t, "sum")}
		p := pair(rapid.Uint64().Draw(t, "pair"))
		r := wire.NewReader(p.AppendRecord(d.AppendRecord(e.AppendRecord(nil))))
		var e2 Event
		var d2 Digest
		var p2 pair
		e2.ReadRecord(r)
		d2.ReadRecord(r)
		p2.ReadRecord(r)
		if r.End() != nil || e2 != e || d2 != d || p2 != p {
			t.Fatalf("%+v %+v %v: %+v %+v %v, %v", e, d, p, e2, d2, p2, r.Err())
		}
	})
}

// Events that no generator makes are refused.
func TestBadEvents(t *testing.T) {
	whole := (&Event{User: 1, Type: Like}).AppendRecord(nil)
	for name, b := range map[string][]byte{"short": whole[:14], "an unknown type": append(whole[:14:14], 4)} {
		var e Event
		r := wire.NewReader(b)
		if e.ReadRecord(r); !errors.Is(r.Err(), wire.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, r.Err())
		}
	}
}
