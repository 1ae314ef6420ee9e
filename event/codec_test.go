package event

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"millrace/event/wire"
)

// anyEvent draws any event that Go can hold, valid or not.
func anyEvent(t *rapid.T) Event {
	e := Event{
		ID:       rapid.String().Draw(t, "id"),
		User:     rapid.String().Draw(t, "user"),
		Item:     rapid.String().Draw(t, "item"),
		Type:     rapid.SampledFrom([]string{"view", "rating", "", "x"}).Draw(t, "type"),
		HasValue: rapid.Bool().Draw(t, "has value"),
		Time:     Time(rapid.Int64().Draw(t, "time")),
		Session:  rapid.String().Draw(t, "session"),
		Request:  rapid.String().Draw(t, "request"),
	}
	if e.HasValue {
		e.Value = rapid.OneOf(
			rapid.Float64(),
			rapid.Map(rapid.Int32(), func(v int32) float64 { return float64(v) }),
			rapid.Map(rapid.Uint64(), math.Float64frombits),
			rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), 1 << 53, 1<<53 + 2, -1 << 53}),
		).Draw(t, "value")
	}
	if m := rapid.SliceOf(rapid.Byte()).Draw(t, "metadata"); len(m) > 0 {
		e.Metadata = m
	}
	return e
}

// sameEvent compares values by their bits, so that NaN equals itself and -0
// differs from 0.
func sameEvent(a, b Event) bool {
	if math.Float64bits(a.Value) != math.Float64bits(b.Value) {
		return false
	}
	a.Value, b.Value = 0, 0
	return reflect.DeepEqual(a, b)
}

func TestEventSurvivesItsCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(anyEvent), 1, 4).Draw(t, "events")
		var enc []byte
		for i := range events {
			enc = AppendEvent(enc, &events[i])
		}
		r := wire.NewReader(enc)
		for i := range events {
			got := Event{ID: "left over", Metadata: []byte("left over")}
			ReadEvent(r, &got, nil)
			if r.Err() != nil || !sameEvent(got, events[i]) {
				t.Fatalf("event %d: read %+v, error %v, want %+v", i, got, r.Err(), events[i])
			}
		}
		if r.Len() != 0 {
			t.Fatalf("%d bytes left", r.Len())
		}
	})
}

func TestTruncatedEventIsCorrupt(t *testing.T) {
	e := Event{
		ID: "e1", User: "u", Item: "i", Type: "rating", Value: 4.5, HasValue: true,
		Time: 1_700_000_000_000, Session: "s", Request: "r", Metadata: []byte(`{"a":1}`),
	}
	enc := AppendEvent(nil, &e)
	for n := range enc {
		var got Event
		r := wire.NewReader(enc[:n])
		if ReadEvent(r, &got, nil); !errors.Is(r.Err(), wire.ErrCorrupt) {
			t.Errorf("the first %d of %d bytes: error %v, want ErrCorrupt", n, len(enc), r.Err())
		}
	}
}

// The bytes of version 1. A change here needs a new version, and a reader that
// still reads this one: logs are kept.
func TestStoredFormsAreFixed(t *testing.T) {
	e := Event{User: "u1", Item: "i9", Type: "rating", Value: 4, HasValue: true, Time: 1_700_000_000_000, ID: "e"}
	item := &Item{ID: "i9", Title: "Heat", Categories: []string{"crime"}, Hidden: true, Created: 5, Metadata: []byte("{}")}
	user := &User{ID: "u1", Age: 30, Gender: "f", Labels: []string{"vip"}}
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"event", "010502753102693906726174696e67" + "80a0abfef962" + "08" + "0165", AppendEvent(nil, &e)},
		{"put item", "0101026939044865617401056372696d6500010a027b7d", AppendChange(nil, &Change{Kind: PutItem, Item: item})},
		{"delete item", "0102026939", AppendChange(nil, &Change{Kind: DeleteItem, Item: item})},
		{"put user", "01030275313c01660103766970", AppendChange(nil, &Change{Kind: PutUser, User: user})},
		{"delete user", "0104027531", AppendChange(nil, &Change{Kind: DeleteUser, User: user})},
		{"ensure item", "01050161000000000000", AppendChange(nil, &Change{Kind: EnsureItem, Item: &Item{ID: "a"}})},
		{"ensure user", "01060161000000", AppendChange(nil, &Change{Kind: EnsureUser, User: &User{ID: "a"}})},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: stored as %s, want %s", c.name, got, c.want)
		}
	}
}

func TestUnknownVersionsAndFlagsAreRefused(t *testing.T) {
	good := AppendEvent(nil, &Event{User: "u", Item: "i", Type: "view", Time: 1})
	for _, c := range []struct {
		name string
		at   int
		b    byte
		want error
	}{
		{"later version", 0, 2, ErrVersion},
		{"unknown flag", 1, 0x40, wire.ErrCorrupt},
		{"two values", 1, hasWholeValue | hasDoubleValue, wire.ErrCorrupt},
	} {
		enc := bytes.Clone(good)
		enc[c.at] = c.b
		r := wire.NewReader(enc)
		var e Event
		if ReadEvent(r, &e, nil); !errors.Is(r.Err(), c.want) {
			t.Errorf("%s: error %v, want %v", c.name, r.Err(), c.want)
		}
	}
	for _, c := range []struct {
		enc  []byte
		want error
	}{
		{nil, wire.ErrCorrupt},
		{[]byte{2, 1}, ErrVersion},
		{[]byte{1, 0}, wire.ErrCorrupt},
		{[]byte{1, 7, 1, 'a'}, wire.ErrCorrupt},
	} {
		r := wire.NewReader(c.enc)
		if got := ReadChange(r); !errors.Is(r.Err(), c.want) || got.Kind != 0 {
			t.Errorf("change %v: %+v with error %v, want none and %v", c.enc, got, r.Err(), c.want)
		}
	}
}

// Names spare the decoder the allocation of what repeats, and what is kept of
// an event does not keep the block that it was read from.
func TestNamesAreUsed(t *testing.T) {
	block := AppendEvent(nil, &Event{ID: "id", User: "u", Item: "i", Type: "view", Session: "s", Request: "r", Time: 1})
	names := &Names{
		Type: func(b []byte) string { return "canonical " + string(b) },
		Item: func(b []byte) string { return "interned " + string(b) },
	}
	var e Event
	ReadEvent(wire.NewReader(block), &e, names)
	for i := range block {
		block[i] = 'X'
	}
	want := Event{ID: "id", User: "u", Item: "interned i", Type: "canonical view", Session: "s", Request: "r", Time: 1}
	if !sameEvent(e, want) {
		t.Errorf("read %+v, want %+v", e, want)
	}
}

func TestChangeSurvivesItsCodec(t *testing.T) {
	list := rapid.OneOf(rapid.Just[[]string](nil), rapid.SliceOfN(rapid.String(), 1, 4))
	rapid.Check(t, func(t *rapid.T) {
		item := &Item{
			ID:         rapid.String().Draw(t, "item"),
			Title:      rapid.String().Draw(t, "title"),
			Categories: list.Draw(t, "categories"),
			Tags:       list.Draw(t, "tags"),
			Hidden:     rapid.Bool().Draw(t, "hidden"),
			Created:    Time(rapid.Int64().Draw(t, "created")),
		}
		if m := rapid.SliceOf(rapid.Byte()).Draw(t, "metadata"); len(m) > 0 {
			item.Metadata = m
		}
		user := &User{
			ID:     rapid.String().Draw(t, "user"),
			Age:    rapid.Int().Draw(t, "age"),
			Gender: rapid.String().Draw(t, "gender"),
			Labels: list.Draw(t, "labels"),
		}
		changes := []Change{
			{Kind: PutItem, Item: item},
			{Kind: DeleteItem, Item: &Item{ID: item.ID}},
			{Kind: EnsureItem, Item: item},
			{Kind: PutUser, User: user},
			{Kind: DeleteUser, User: &User{ID: user.ID}},
			{Kind: EnsureUser, User: user},
		}
		c := rapid.SampledFrom(changes).Draw(t, "change")
		enc := AppendChange(nil, &c)
		r := wire.NewReader(enc)
		got := ReadChange(r)
		for i := range enc { // the change must not depend on its block
			enc[i] = 0
		}
		if r.Err() != nil || r.Len() != 0 || !reflect.DeepEqual(got, c) {
			t.Fatalf("read %+v, error %v, %d bytes left, want %+v", got, r.Err(), r.Len(), c)
		}
	})
}

// A decoder may not allocate more than a small multiple of its input, whatever
// lengths the input claims.
func FuzzReadEvent(f *testing.F) {
	f.Add(AppendEvent(nil, &Event{User: "u", Item: "i", Type: "view", Time: 1_700_000_000_000}))
	f.Add(AppendEvent(nil, &Event{ID: "e", User: "u", Item: "i", Type: "rating", Value: 0.5, HasValue: true,
		Session: "s", Request: "r", Metadata: []byte("{}")}))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again Event
		r := wire.NewReader(b)
		if ReadEvent(r, &e, nil); r.Err() != nil {
			return
		}
		if n := len(e.User) + len(e.Item) + len(e.Type) + len(e.ID) + len(e.Session) + len(e.Request) + len(e.Metadata); n > len(b) {
			t.Fatalf("%d bytes of strings from %d bytes", n, len(b))
		}
		r = wire.NewReader(AppendEvent(nil, &e))
		if ReadEvent(r, &again, nil); r.Err() != nil || !sameEvent(e, again) {
			t.Fatalf("read %+v, then %+v with error %v", e, again, r.Err())
		}
	})
}

func FuzzReadChange(f *testing.F) {
	f.Add(AppendChange(nil, &Change{Kind: PutItem, Item: &Item{ID: "i", Title: "t", Categories: []string{"c"}, Metadata: []byte("{}")}}))
	f.Add(AppendChange(nil, &Change{Kind: PutUser, User: &User{ID: "u", Age: 3, Gender: "f", Labels: []string{"l"}}}))
	f.Add(AppendChange(nil, &Change{Kind: DeleteUser, User: &User{ID: "u"}}))
	f.Add([]byte{1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		c := ReadChange(r)
		if r.Err() != nil {
			return
		}
		r = wire.NewReader(AppendChange(nil, &c))
		if again := ReadChange(r); r.Err() != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("read %+v, then %+v with error %v", c, again, r.Err())
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	e := Event{User: "user-1234", Item: "item-5678", Type: "click", Time: 1_700_000_000_000, Value: 4, HasValue: true}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendEvent(dst[:0], &e)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkReadEvent(b *testing.B) {
	enc := AppendEvent(nil, &Event{User: "user-1234", Item: "item-5678", Type: "click", Time: 1_700_000_000_000, Value: 4, HasValue: true})
	names := &Names{
		Type: func([]byte) string { return "click" },
		Item: func([]byte) string { return "item-5678" },
	}
	var e Event
	b.SetBytes(int64(len(enc)))
	b.ReportAllocs()
	for b.Loop() {
		ReadEvent(wire.NewReader(enc), &e, names)
	}
}

// JSONLines writes as many stored events as it is told to, a line each, and
// nothing of a payload that it can not read.
func TestJSONLines(t *testing.T) {
	var payload []byte
	for _, e := range []Event{
		{User: "u1", Item: "i1", Type: "view", Time: secondsBelow},
		{User: "u2", Item: "i2", Type: "rating", Time: secondsBelow + 1, Value: 4.5, HasValue: true},
		{User: "u3", Item: "i3", Type: "view", Time: secondsBelow + 2},
	} {
		payload = AppendEvent(payload, &e)
	}
	first := fmt.Sprintf(`{"user_id":"u1","item_id":"i1","event_type":"view","timestamp":%d}`, secondsBelow) + "\n"
	second := fmt.Sprintf(`{"user_id":"u2","item_id":"i2","event_type":"rating","value":4.5,"timestamp":%d}`, secondsBelow+1) + "\n"
	for n, want := range []string{"", first, first + second} {
		if got, err := JSONLines(payload, n); string(got) != want || err != nil {
			t.Errorf("%d lines: %q, error %v", n, got, err)
		}
	}
	if got, err := JSONLines(payload, 4); got != nil || !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("one more than there are: %q, error %v", got, err)
	}
}
