package event

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDefaultTypes(t *testing.T) {
	want := map[string]int64{
		"impression": 0, "view": 100, "click": 300, "like": 500, "cart": 700, "purchase": 1000, "rating": 500, "dislike": -500,
	}
	types := DefaultTypes()
	if got := types.Names(); !slices.IsSorted(got) || len(got) != len(want) {
		t.Errorf("names %q, want the %d sorted names of the defaults", got, len(want))
	}
	for name, weight := range want {
		if got := types.WeightMilli(&Event{Type: name}); !types.Has(name) || got != weight {
			t.Errorf("%s weighs %d thousandths, want %d", name, got, weight)
		}
	}
	if types.Has("View") || types.WeightMilli(&Event{Type: "View"}) != 0 {
		t.Error("the name of a type is matched without its case")
	}
}

func TestRatingWeighsByItsValue(t *testing.T) {
	types, err := NewTypes(map[string]float64{"rating": 0.5, "view": 0.1, "anger": -0.5})
	if err != nil {
		t.Fatal(err)
	}
	negative, err := NewTypes(map[string]float64{"rating": -0.001})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		types *Types
		e     Event
		want  int64
	}{
		{types, Event{Type: "rating"}, 500},
		{types, Event{Type: "rating", Value: 2}, 500}, // not HasValue
		{types, Event{Type: "rating", HasValue: true, Value: 5}, 500},
		{types, Event{Type: "rating", HasValue: true, Value: 4}, 400},
		{types, Event{Type: "rating", HasValue: true, Value: 0.5}, 50},
		{types, Event{Type: "rating", HasValue: true, Value: 3.333}, 333},
		{types, Event{Type: "rating", HasValue: true, Value: 3.335}, 334}, // 333.5 thousandths
		{types, Event{Type: "rating", HasValue: true, Value: 0}, 0},
		{types, Event{Type: "rating", HasValue: true, Value: -3}, 0},
		{types, Event{Type: "rating", HasValue: true, Value: 100}, 500},
		{types, Event{Type: "rating", HasValue: true, Value: math.NaN()}, 0},
		{types, Event{Type: "rating", HasValue: true, Value: math.Inf(1)}, 500},
		{types, Event{Type: "view", HasValue: true, Value: 4}, 100},
		{types, Event{Type: "anger", HasValue: true, Value: 4}, -500},
		{negative, Event{Type: "rating", HasValue: true, Value: 2.5}, -1}, // half away from zero
		{negative, Event{Type: "rating", HasValue: true, Value: 2.4}, 0},
	} {
		if got := c.types.WeightMilli(&c.e); got != c.want {
			t.Errorf("%s with value %v (%v) weighs %d thousandths, want %d", c.e.Type, c.e.Value, c.e.HasValue, got, c.want)
		}
	}
}

func TestNewTypesRefuses(t *testing.T) {
	many := map[string]float64{}
	for i := range MaxTypes + 1 {
		many[strings.Repeat("x", 1+i%60)+string(rune('a'+i/60))] = 1
	}
	for name, weights := range map[string]map[string]float64{
		"none":             {},
		"too many":         many,
		"no name":          {"": 1},
		"long name":        {strings.Repeat("x", MaxTypeBytes+1): 1},
		"control":          {"a\nb": 1},
		"invalid UTF-8":    {"\xff": 1},
		"NaN":              {"view": math.NaN()},
		"infinite":         {"view": math.Inf(-1)},
		"heavy":            {"view": 1000.001},
		"ten-thousandths":  {"view": 0.1234},
		"a bit over a cut": {"view": 0.1000009},
	} {
		if types, err := NewTypes(weights); !errors.Is(err, ErrTypes) {
			t.Errorf("%s: types %v, error %v, want ErrTypes", name, types, err)
		}
	}
}

// The stored form is a part of the log: the same set is the same bytes, and
// they are read by every later release.
func TestTypesAreStored(t *testing.T) {
	types, err := NewTypes(map[string]float64{"view": 0.1, "buy": 1, "hate": -2.5})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":1,"weights_milli":{"buy":1000,"hate":-2500,"view":100}}`
	if got := string(types.Encode()); got != want {
		t.Errorf("stored as %s, want %s", got, want)
	}
	for text, want := range map[string]error{
		`{"version":2,"weights_milli":{"view":100}}`:      ErrVersion,
		`{"version":1,"weights_milli":{}}`:                ErrTypes,
		`{"version":1,"weights_milli":{"view":1000001}}`:  ErrTypes,
		`{"version":1,"weights_milli":{"view":-1000001}}`: ErrTypes,
		`{"version":1,"weights_milli":{"view":1.5}}`:      ErrTypes,
		`{"version":1`: ErrTypes,
	} {
		if got, err := DecodeTypes([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: types %v, error %v, want %v", text, got, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		weights := map[string]float64{}
		for name, milli := range rapid.MapOfN(rapid.StringMatching(`[a-z_é]{1,20}`), rapid.IntRange(-1_000_000, 1_000_000), 1, 9).Draw(t, "weights") {
			weights[name] = float64(milli) / 1000
		}
		types, err := NewTypes(weights)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeTypes(types.Encode())
		if err != nil || string(again.Encode()) != string(types.Encode()) {
			t.Fatalf("%s comes back as %v, error %v", types.Encode(), again, err)
		}
		for name, weight := range weights {
			if got := again.WeightMilli(&Event{Type: name}); float64(got)/1000 != weight {
				t.Fatalf("%s weighs %d thousandths, want %v", name, got, weight)
			}
		}
	})
}

func TestCanonicalDoesNotAllocate(t *testing.T) {
	types, name := DefaultTypes(), []byte("purchase")
	allocs := testing.AllocsPerRun(100, func() {
		if s, ok := types.Canonical(name); !ok || s != "purchase" {
			t.Fatalf("%q, %v", s, ok)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if s, ok := types.Canonical([]byte("nope")); ok || s != "" {
		t.Errorf("an unknown type is %q, %v", s, ok)
	}
}
