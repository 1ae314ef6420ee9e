package format_test

import (
	"errors"
	"strings"
	"testing"

	"millrace/event"
	"millrace/source/format"
)

const now = 1_700_000_000_000

// decode is the event of a value, or what is wrong with it.
func decode(t *testing.T, d format.Decoder, r format.Record) string {
	t.Helper()
	var e event.Event
	bad, err := d.Decode(t.Context(), &r, now, &e)
	if err != nil {
		t.Fatal(err)
	}
	if bad != nil {
		return "bad: " + bad.Err.Field + ": " + bad.Err.Expected
	}
	return string(event.AppendJSON(nil, &e))
}

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		name, value string
		mapping     format.Mapping
		want        string
	}{
		{"ours", `{"user_id":"u","item_id":1,"event_type":"like","timestamp":1600000000}`, format.Mapping{},
			`{"user_id":"u","item_id":"1","event_type":"like","timestamp":1600000000000}`},
		{"the seeds' names and unknown ones", `{"userId":7,"movieId":8,"rating":4.5,"ts":1600000000,"device":{"a":[1]},"device":2}`,
			format.Mapping{EventType: "rating"},
			`{"user_id":"7","item_id":"8","event_type":"rating","value":4.5,"timestamp":1600000000000}`},
		{"a tuple", `["u","i",1600000000]`, format.Mapping{}, `{"user_id":"u","item_id":"i","event_type":"view","timestamp":1600000000000}`},
		{"other names", `{"who":"u","what":"i","when":1600000000,"timestamp":"soon"}`,
			format.Mapping{Fields: map[string]string{"who": "user_id", "what": "item_id", "when": "timestamp", "timestamp": ""}},
			`{"user_id":"u","item_id":"i","event_type":"view","timestamp":1600000000000}`},
		{"names with escapes", `{"user\u005fid":"u","item_id":"i","a\\b":1,"timestamp":1600000000}`, format.Mapping{},
			`{"user_id":"u","item_id":"i","event_type":"view","timestamp":1600000000000}`},
		{"the record's time", `{"user_id":"u","item_id":"i"}`, format.Mapping{RecordTime: true},
			`{"user_id":"u","item_id":"i","event_type":"view","timestamp":1650000000000}`},
		{"no time", `{"user_id":"u","item_id":"i"}`, format.Mapping{}, "bad: timestamp: "},
		{"unknown ones refused", `{"user_id":"u","item_id":"i","timestamp":1,"x":1}`, format.Mapping{UnknownFields: format.UnknownReject}, "bad: x: a known field"},
		{"ahead", `{"user_id":"u","item_id":"i","timestamp":1700000301000}`, format.Mapping{}, "bad: timestamp: a time at most 5 minutes ahead"},
		{"nothing", "", format.Mapping{}, "bad: : "},
		{"no JSON", "\x00\x01", format.Mapping{}, "bad: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.mapping.Validate(event.DefaultTypes()); err != nil {
				t.Fatal(err)
			}
			d := format.NewJSON(c.mapping, event.DefaultTypes())
			got := decode(t, d, format.Record{Value: []byte(c.value), Time: 1_650_000_000_000})
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s\n got %s\nwant %s", c.value, got, c.want)
			}
		})
	}
}

func TestCounter(t *testing.T) {
	d := format.NewCounter(event.DefaultTypes())
	for _, c := range []struct{ key, value, want string }{
		{"", "17:likes", `{"user_id":"anonymous:17","item_id":"17","event_type":"like","timestamp":1650000000000}`},
		{"ann", "a:b:comments", `{"user_id":"ann","item_id":"a:b","event_type":"click","timestamp":1650000000000}`},
		{"", "17:reads", `{"user_id":"anonymous:17","item_id":"17","event_type":"view","timestamp":1650000000000}`},
		{"", "17:hates", "bad: : CONTENT_ID:KIND"},
		{"", "17", "bad: : CONTENT_ID:KIND"},
		{"", ":likes", "bad: item_id: "},
		{"", "\xff:likes", "bad: user_id: "},
		{"", "", "bad: : CONTENT_ID:KIND"},
	} {
		got := decode(t, d, format.Record{Key: []byte(c.key), Value: []byte(c.value), Time: 1_650_000_000_000})
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: got %s, want %s", c.value, got, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		mapping format.Mapping
		want    string
	}{
		{format.Mapping{EventType: "gaze"}, "event_type: want one of cart, click"},
		{format.Mapping{Fields: map[string]string{"who": "whom"}}, `fields: who: want one of user_id, item_id`},
		{format.Mapping{UnknownFields: "keep"}, `unknown_fields: want ignore or reject, got "keep"`},
	} {
		if err := c.mapping.Validate(event.DefaultTypes()); !errors.Is(err, format.ErrMapping) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.mapping, err, c.want)
		}
	}
}

// FuzzCounter: whatever a value is, it makes a valid event or is bad.
func FuzzCounter(f *testing.F) {
	f.Add([]byte("k"), []byte("17:likes"))
	f.Add([]byte{}, []byte("\x00:reads"))
	d := format.NewCounter(event.DefaultTypes())
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var e event.Event
		bad, err := d.Decode(t.Context(), &format.Record{Key: key, Value: value, Time: now}, now, &e)
		if err != nil || bad == nil && event.Validate(&e, event.Options{}) != nil {
			t.Errorf("%q %q: %v, %v, %v", key, value, e, bad, err)
		}
	})
}
