package strict

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"pgregory.net/rapid"

	"millrace/serve/problem"
)

func ptr(v float64) *float64 { return &v }

var params = []*huma.Param{
	{Name: "id", In: "path", Schema: &huma.Schema{Type: huma.TypeString}},
	{Name: "n", In: "query", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1), Maximum: ptr(1000)}},
	{Name: "category", In: "query", Schema: &huma.Schema{Type: huma.TypeString}},
	{Name: "explain", In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean}},
}

func TestQuery(t *testing.T) {
	for _, c := range []struct{ query, says string }{
		{"n=5&category=a%20b&explain=true", ""},
		{"", ""},
		{"&n=5&", ""},
		{"n=5&category=a+b", ""},
		{"%6e=5", ""},
		{"id=1", "id: expected a known parameter: n, category, explain, got id"},
		{"N=5", "N: expected a known parameter"},
		{"n=5&n=5", "n: expected the parameter once, got a second one: 5"},
		{"n", "n: expected a whole number from 1 to 1000, got nothing"},
		{"n=", "n: expected a whole number from 1 to 1000, got nothing"},
		{"category=", "category: expected a text that is not empty"},
		{"explain", "explain: expected true or false"},
		{"n=%zz", "n: expected percent-encoded UTF-8, got n=%zz"},
		{"%zz=1", "percent-encoded UTF-8"},
		{"n=5;explain=true", ""}, // huma says that it is no number
	} {
		p := checkQuery(params, c.query)
		if c.says == "" && p != nil || c.says != "" && (p == nil || !strings.Contains(p.Detail, c.says)) {
			t.Errorf("%q: %v, want %q", c.query, p, c.says)
		}
	}
	if p := checkQuery(params, strings.Repeat("x=1&", 10_000)); p == nil || len(p.Errors) != maxQueryErrors {
		t.Errorf("many errors: %v", p)
	}
}

// A query that passes is one that net/url reads the same way: every parameter
// known, once, with a value.
func TestQueryIsReadAsItIsMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []string
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			parts = append(parts, rapid.SampledFrom([]string{"n", "category", "explain", "%6e", "x", "", "id"}).Draw(t, "name")+
				rapid.SampledFrom([]string{"=", "=", ""}).Draw(t, "equals")+
				rapid.SampledFrom([]string{"1", "", "a%20b", "%zz", "+"}).Draw(t, "value"))
		}
		query := strings.Join(parts, "&")
		if checkQuery(params, query) != nil {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q passes, but %v", query, err)
		}
		for name, list := range values {
			if indexOf(params, name) < 0 || len(list) != 1 || list[0] == "" {
				t.Fatalf("%q passes with %s=%q", query, name, list)
			}
		}
	})
}

type body struct {
	Items IDs    `json:"items"`
	N     int    `json:"n,omitempty"`
	Name  string `json:"name,omitempty"`
	Flag  bool   `json:"flag,omitempty"`
}

func TestJSON(t *testing.T) {
	long := strings.Repeat("x", 257)
	for _, c := range []struct{ text, field, says string }{
		{`{"items":[1,"a",1e2,-3,"\u00e9"],"n":5,"flag":true}`, "", ""},
		{`{}`, "", ""},
		{`{"items":null}`, "", ""},
		{`{"items":[]}`, "", ""},
		{`{"items":[1.5]}`, "items.0", "a string or a whole number"},
		{`{"items":[1,null]}`, "items.1", "a string or a whole number"},
		{`{"items":[true]}`, "items.0", "a string or a whole number"},
		{`{"items":[{"id":1}]}`, "items.0", "a string or a whole number"},
		{`{"items":["` + long + `"]}`, "items.0", "256 bytes"},
		{`{"items":["a\u0000"]}`, "items.0", "control characters"},
		{`{"items":{"0":1}}`, "items", "a list of at most 1000 ids"},
		{`{"items":1}`, "items", "a list of at most 1000 ids"},
		{`{"items":[` + strings.TrimSuffix(strings.Repeat("1,", 1001), ",") + `]}`, "items", "a list of at most 1000 ids"},
		{`{"n":"5"}`, "n", "a whole number"},
		{`{"n":5.5}`, "n", "a whole number"},
		{`{"n":1e99}`, "n", "a whole number"},
		{`{"n":99999999999999999999}`, "n", "a whole number"},
		{`{"name":5}`, "name", "a string"},
		{`{"flag":1}`, "flag", "true or false"},
		{`{"who":1}`, "who", "a known member: items, n, name, flag"},
		{`{"n":1,"n":2}`, "", "valid JSON"},
		{`{"n":1`, "", "valid JSON"},
		{`{"n":1}{}`, "", "valid JSON"},
		{`{"n":NaN}`, "", "valid JSON"},
		{``, "", "valid JSON"},
		{`[]`, "", "an object with items, n, name, flag"},
		{`5`, "", "an object with"},
		{"{\"name\":\"\xff\"}", "", "valid JSON"},
	} {
		err := JSON([]byte(c.text), &body{})
		if c.says == "" {
			if err != nil {
				t.Errorf("%.60s: %v", c.text, err)
			}
			continue
		}
		p, ok := errors.AsType[*problem.Problem](err)
		if !ok || len(p.Errors) != 1 || p.Errors[0].Field != c.field || !strings.Contains(p.Errors[0].Expected, c.says) || p.Errors[0].Got == "" {
			t.Errorf("%.60s: %v\nwant field %q and %q", c.text, err, c.field, c.says)
		}
	}
	var b body
	if err := JSON([]byte(`{"items":[1,"a",1e2,-3,"1"]}`), &b); err != nil || !slices.Equal(b.Items.Texts(), []string{"1", "a", "100", "-3", "1"}) {
		t.Errorf("ids %q, error %v", b.Items.Texts(), err)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"items":[1,"a"],"n":5,"name":"x","flag":true}`))
	f.Add([]byte(`{"items":[{"a":[null]}],"items":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var b body
		err := JSON(text, &b)
		if err == nil {
			for _, id := range b.Items {
				if CheckID("", string(id)) != nil {
					t.Fatalf("%q was read as an id", id)
				}
			}
			return
		}
		if p, ok := errors.AsType[*problem.Problem](err); !ok || p.Status != 400 || p.Detail == "" || len(p.Errors) != 1 || p.Errors[0].Got == "" {
			t.Fatalf("the error is %#v", err)
		}
	})
}

func TestIDs(t *testing.T) {
	for id, good := range map[string]bool{
		"1": true, "a/b é?": true, "..": true, " ": true, strings.Repeat("x", 256): true,
		"": false, strings.Repeat("x", 257): false, "a\x00": false, "\x7f": false, "\xff": false, "\u0085": false, "a\nb": false,
	} {
		if err := CheckID("id", id); (err == nil) != good {
			t.Errorf("id %.20q: %v", id, err)
		}
	}
	if CheckOptional("category", "") != nil || CheckOptional("category", "\x00") == nil {
		t.Error("an optional text may be missing, and else is like an id")
	}
}
