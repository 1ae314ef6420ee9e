package line_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/event"
	"millrace/source/format"
	"millrace/source/line"
)

const now = 1_700_000_000_000

func parser(t testing.TB, c line.Config) *line.Parser {
	t.Helper()
	p, err := line.New(c, event.DefaultTypes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// outcome is the event of a line, or what it is else.
func outcome(p *line.Parser, header, text string) string {
	var e event.Event
	verdict, fault := p.Parse([]byte(header), []byte(text), now, &e)
	switch verdict {
	case line.Ignored:
		return "ignored"
	case line.Bad:
		return fmt.Sprintf("bad: %s: want %s, got %s", fault.Field, fault.Expected, fault.Got)
	}
	return string(event.AppendJSON(nil, &e))
}

func check(t *testing.T, name, got, want string) {
	t.Helper()
	rest, bad := strings.CutPrefix(want, "bad: ")
	parts := strings.Split(rest, " … ")
	if !bad && len(parts) == 1 && got != want || bad && !strings.HasPrefix(got, "bad: ") {
		t.Errorf("%s\n got %s\nwant %s", name, got, want)
	}
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%s\n got %s\nwant %s", name, got, want)
		}
	}
}

const view = `{"user_id":"ann","item_id":"7","event_type":"view","timestamp":1600000000000}`

func TestForms(t *testing.T) {
	csv := line.Config{Form: line.CSV}
	columns := line.Config{Form: line.CSV, Columns: []string{"user_id", "", "item_id", "ts", "value"}, Separator: ";"}
	bought := line.Config{Form: line.Regexp, Pattern: `^(?P<at>\S+) (?P<user_id>\w+) (bought|saw) (?P<item_id>\w+)$`, IgnoreOthers: true, TimeLayout: "2006-01-02_15:04:05",
		Mapping: format.Mapping{Fields: map[string]string{"at": "timestamp"}}}
	strict := bought
	strict.IgnoreOthers = false
	pairs := line.Config{Form: line.KeyValue, Mapping: format.Mapping{Fields: map[string]string{"who": "user_id", "what": "item_id"}, TypeNames: map[string]string{"seen": "view"}}}
	for _, c := range []struct {
		config             line.Config
		header, text, want string
	}{
		{line.Config{Form: line.JSONLines}, "", `{"user_id":"ann","item_id":7,"ts":1600000000}`, view},
		{line.Config{Form: line.JSONLines}, "", `{"user_id":"ann",`, "bad: valid JSON"},
		{line.Config{Form: line.JSONLines}, "", "  ", "ignored"},
		{line.Config{Form: line.JSONLines, Mapping: format.Mapping{RecordTime: true}}, "", `{"user_id":"ann","item_id":7}`, strings.Replace(view, "16", "17", 1)},
		{csv, "user_id,item_id,timestamp,value", `ann,7,1600000000,`, view},
		{csv, "user_id;item_id;timestamp", `"ann";7;2020-09-13T12:26:40Z`, view},
		{csv, "\xef\xbb\xbfuser_id\titem_id\ttimestamp", "ann\t7\t1600000000", view},
		{csv, "user_id,item_id,timestamp", `ann,7`, "bad: want 3 fields, got 2: ann,7"},
		{csv, "user_id,item_id,timestamp", `ann,"7,1`, "bad: want fields in quotes"},
		{csv, "user_id,item_id,timestamp", `ann,7,soon`, "bad: timestamp: … got soon"},
		{csv, "user_id,item,timestamp", `ann,7,1600000000`, "bad: want a field that is the item_id, got none"},
		{csv, "user_id,item_id,ts,timestamp", `ann,7,1,1`, "bad: want one field that is the timestamp, got ts and timestamp"},
		{columns, "", `ann;x;7;1600000000;`, view},
		{columns, "", `ann;x;7;1600000000;much`, "bad: value: want a finite number, got much"},
		{line.Config{Form: line.TSV}, "user_id\titem_id\tts", "ann\t7\t1600000000000", view},
		{line.Config{Form: line.TSV}, "user_id\titem_id\tts", "\"ann\t7\t1600000000000", `{"user_id":"\"ann" … "7"`},
		{bought, "", "2020-09-13_12:26:40 ann bought 7", view},
		{bought, "", "2020-09-13 12:26:40 ann bought 7", "ignored"},
		{strict, "", "2020-09-13 12:26:40 ann bought 7", "bad: want a line that the pattern matches"},
		{strict, "", "yesterday ann saw 7", "bad: timestamp: want a time written as 2006-01-02_15:04:05, got yesterday"},
		{pairs, "", `level=info who=ann  what="7" event_type=seen ts=1600000000 msg="said \"hi\" = 1" done`, view},
		{pairs, "", `who="a\\\"\n" what=7 ts=1600000000`, "bad: user_id: "},
		{pairs, "", `who=ann what="7 ts=1600000000`, "bad: what: want pairs such as"},
		{pairs, "", `nothing of it`, "bad: timestamp: … got nothing"},
	} {
		check(t, c.config.Form+" "+c.text, outcome(parser(t, c.config), c.header, c.text), c.want)
	}
	p := parser(t, csv) // with files of several headers in turn
	check(t, "first header", outcome(p, "user_id,item_id,ts", "ann,7,1600000000"), view)
	check(t, "another", outcome(p, "ts,user_id,item_id", "1600000000,ann,7"), view)
	check(t, "a wrong one", outcome(p, "a,b,c", "1600000000,ann,7"), "bad: names the columns")
	check(t, "first header again", outcome(p, "user_id,item_id,ts", "ann,7,1600000000"), view)
}

func TestAccessLog(t *testing.T) {
	p := parser(t, line.Config{Form: line.Access, Mapping: format.Mapping{Fields: map[string]string{"remote_user": "user_id", "arg_sid": "session_id", "arg_u": "user_id"}},
		Requests: []line.Request{
			{Path: `^/products/(?P<item_id>[^/]+)$`},
			{Path: `^/cart/(?P<item_id>[^/]+)$`, EventType: "cart", Methods: []string{"POST", "PUT"}, Statuses: []string{"200"}},
		}})
	const before = `10.0.0.1 - ann [13/Sep/2020:14:26:40 +0200] `
	for text, want := range map[string]string{
		before + `"GET /products/7 HTTP/1.1" 200 2326`:                                                    view,
		before + `"GET /products/7?x=1&sid=s%201 HTTP/1.1" 304 0 "http://a/\"b" "Mozilla/5.0 (X)" "more"`: strings.Replace(view, "}", `,"session_id":"s 1"}`, 1),
		`::1 - - [13/Sep/2020:12:26:40 +0000] "GET /products/7?u=ann HTTP/1.1" 200 2326 "-" "-"`:          view,
		before + `"GET /products/a%2Fb HTTP/2.0" 200 1 "-" "-"`:                                           strings.Replace(view, `"7"`, `"a/b"`, 1),
		before + `"POST /cart/7 HTTP/1.1" 200 1 "-" "-"`:                                                  strings.Replace(view, "view", "cart", 1),
		before + `"POST /cart/7 HTTP/1.1" 204 1 "-" "-"`:                                                  "ignored",
		before + `"GET /cart/7 HTTP/1.1" 200 1 "-" "-"`:                                                   "ignored",
		before + `"GET /products/7 HTTP/1.1" 500 1 "-" "-"`:                                               "ignored",
		before + `"GET / HTTP/1.1" 200 1 "-" "-"`:                                                         "ignored",
		before + `"\x16\x03" 400 1 "-" "-"`:                                                               "ignored",
		`10.0.0.1 - - [13/Sep/2020:12:26:40 +0000] "GET /products/7 HTTP/1.1" 200 1 "-" "-"`:              "bad: user_id: … got nothing",
		`10.0.0.1 - ann [yesterday] "GET /products/7 HTTP/1.1" 200 1 "-" "-"`:                             "bad: timestamp: … got yesterday",
		`10.0.0.1 - ann`:                      "bad: want a line such as",
		before + `"GET /products/7`:           "bad: want a line such as",
		before + `"GET /products/7 HTTP/1.1"`: "bad: want a line such as",
		`10.0.0.1 - ann [13/Sep/2020:12:26:40 +0000 "GET / HTTP/1.1" 200 1`:   "bad: want a line such as",
		`10.0.0.1 - ann [13/Nov/2030:12:26:40 +0000] "GET /products/7 H" 200`: "bad: timestamp: want a time at most 5 minutes ahead",
	} {
		check(t, text, outcome(p, "", text), want)
	}
}

func TestConfigs(t *testing.T) {
	for _, c := range []struct {
		config line.Config
		want   string
	}{
		{line.Config{}, `form: want one of jsonl, csv`},
		{line.Config{Form: line.JSONLines, Columns: []string{"a"}}, `columns: only with form csv or tsv, got form "jsonl"`},
		{line.Config{Form: line.CSV, Columns: []string{"user_id"}}, "columns: want a field that is the item_id"},
		{line.Config{Form: line.CSV, Separator: "||"}, `separator: want one character, got "||"`},
		{line.Config{Form: line.Regexp}, "pattern: want a regular expression with named groups"},
		{line.Config{Form: line.Regexp, Pattern: "("}, "pattern: want a regular expression"},
		{line.Config{Form: line.Regexp, Pattern: "(?P<user_id>.)(?P<item_id>.)"}, "pattern: want a field that is the timestamp"},
		{line.Config{Form: line.KeyValue, TimeLayout: "%Y-%m-%d"}, "time_layout: want how 2 January 2006"},
		{line.Config{Form: line.Access}, "requests: want at least one"},
		{line.Config{Form: line.Access, Requests: []line.Request{{Path: "("}}}, "requests[0]: path: want a regular expression"},
		{line.Config{Form: line.Access, Requests: []line.Request{{Path: "/", EventType: "gaze"}}}, "requests[0]: event_type: want one of cart"},
		{line.Config{Form: line.Access, Requests: []line.Request{{Path: "/", Statuses: []string{"ok"}}}}, `requests[0]: statuses: want statuses such as 200 or 2xx, got "ok"`},
		{line.Config{Form: line.JSONLines, Mapping: format.Mapping{EventType: "gaze"}}, "event_type: want one of"},
	} {
		if err := c.config.Validate(event.DefaultTypes()); !errors.Is(err, line.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.config, err, c.want)
		}
	}
}

// FuzzParse: whatever a line is, it makes a valid event, is none, or is bad and
// says why.
func FuzzParse(f *testing.F) {
	parsers := []*line.Parser{
		parser(f, line.Config{Form: line.JSONLines}), parser(f, line.Config{Form: line.CSV}), parser(f, line.Config{Form: line.TSV}),
		parser(f, line.Config{Form: line.KeyValue}),
		parser(f, line.Config{Form: line.Regexp, Pattern: `^(?P<user_id>.*?) (?P<item_id>.*?) (?P<timestamp>.*)$`}),
		parser(f, line.Config{Form: line.Access, Mapping: format.Mapping{Fields: map[string]string{"remote_user": "user_id"}}, Requests: []line.Request{{Path: "(?P<item_id>.+)"}}}),
	}
	f.Add("user_id,item_id,ts", `ann,"7",1600000000`)
	f.Add("user_id\titem_id\tts\tvalue", "ann\t7\t1e400\tinf")
	f.Add("", `user_id=ann item_id="\"" ts=1 metadata="{}"`)
	f.Add("", `10.0.0.1 - ann [13/Sep/2020:14:26:40 +0200] "GET /a%zz?b=%41&&=+ HTTP/1.1" 200 2326 "\"`)
	f.Fuzz(func(t *testing.T, header, text string) {
		for i, p := range parsers {
			var e event.Event
			verdict, fault := p.Parse([]byte(header), []byte(text), now, &e)
			switch {
			case verdict == line.Event && event.Validate(&e, event.Options{Now: now}) != nil:
				t.Errorf("parser %d, %q: %+v is not valid", i, text, e)
			case verdict == line.Bad && (fault == nil || fault.Expected == "" || fault.Got == "" || len(fault.Got) > 500):
				t.Errorf("parser %d, %q: %+v", i, text, fault)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		config       line.Config
		header, text string
	}{
		{line.Config{Form: line.JSONLines}, "", `{"user_id":"user-123456","item_id":"item-7890","event_type":"view","value":4.5,"timestamp":1600000000123}`},
		{line.Config{Form: line.CSV}, "user_id,item_id,event_type,value,timestamp", `user-123456,item-7890,view,4.5,1600000000123`},
		{line.Config{Form: line.KeyValue}, "", `user_id=user-123456 item_id=item-7890 event_type=view value=4.5 timestamp=1600000000123`},
		{line.Config{Form: line.Regexp, Pattern: `^(?P<user_id>\S+) (?P<item_id>\S+) (?P<event_type>\S+) (?P<value>\S+) (?P<timestamp>\S+)$`}, "", `user-123456 item-7890 view 4.5 1600000000123`},
		{line.Config{Form: line.Access, Mapping: format.Mapping{Fields: map[string]string{"remote_user": "user_id"}}, Requests: []line.Request{{Path: `^/products/(?P<item_id>[^/]+)$`}}}, "",
			`10.0.0.1 - user-123456 [13/Sep/2020:14:26:40 +0200] "GET /products/item-7890?x=1 HTTP/1.1" 200 2326 "http://shop.test/" "Mozilla/5.0 (X11; Linux x86_64)"`},
	} {
		b.Run(c.config.Form, func(b *testing.B) {
			p := parser(b, c.config)
			header, text := []byte(c.header), []byte(c.text)
			var e event.Event
			b.ReportAllocs()
			for b.Loop() {
				if verdict, fault := p.Parse(header, text, now, &e); verdict != line.Event {
					b.Fatal(fault)
				}
			}
		})
	}
}
