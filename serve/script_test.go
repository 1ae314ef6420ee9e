package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/activity"
	"millrace/recommend/cohort"
	"millrace/recommend/decay"
	"millrace/recommend/heat"
	"millrace/recommend/profile"
	"millrace/recommend/session"
	"millrace/recommend/tally"
	"millrace/serve/api"
	"millrace/serve/servetest"
)

// The scripts in testdata/scripts are requests and their answers. Commands:
//
//	http            the input is "METHOD path", header lines, an empty line, a body
//	world           makes a new one; arguments are the API keys
//	fail part=text  makes a part fail: submit, overload, durable, log, wait,
//	                engine, saving, sql, catalog, store, letters, redact, rank; without
//	                arguments nothing fails any more
//	habits USER     puts a profile, activity and sessions of a user into the views
//	checkpoints     two of them have finished
//	lists           the input is lines "VIEW KEY: ITEM=SCORE ...": the view is
//	                neighbors, with scores, or trending, with the heat that it
//	                had on 2000-12-24T22:12:40Z
//	stored          the events that were stored
//	forgotten       whose events were redacted and whose dead letters purged
//
// Answers are shown with their status, the headers that matter, and JSON
// indented; random request ids and the like are masked.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{}
		s.reset(t, nil)
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	world  *servetest.World
	server *Server
}

func (s *script) reset(t *testing.T, keys []string) {
	s.world = servetest.New()
	var err error
	if s.server, err = New(Options{Parts: s.world.Parts(), Listen: "127.0.0.1:0", Keys: keys}); err != nil {
		t.Fatal(err)
	}
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "world":
		var keys []string
		for _, a := range d.CmdArgs {
			keys = append(keys, a.Key)
		}
		s.reset(t, keys)
		return ""
	case "fail":
		s.fail(t, d)
		return ""
	case "habits":
		s.world.Publish(habits(d.CmdArgs[0].Key)...)
		return ""
	case "checkpoints":
		s.world.Saved = saved
		return ""
	case "lists":
		s.world.Publish(lists(t, d)...)
		return ""
	case "stored":
		var b strings.Builder
		for _, e := range s.world.Events() {
			fmt.Fprintf(&b, "%s\n", event.AppendJSON(nil, &e))
		}
		return b.String()
	case "forgotten":
		redacted, purged := s.world.Forgotten()
		return fmt.Sprintf("redacted %q, purged %q\n", redacted, purged)
	case "http":
		return s.http(d.Input)
	}
	t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return ""
}

// saved is what a server's engine may say of its checkpoints.
var saved = api.Checkpoints{
	Policy: api.CheckpointPolicy{Interval: 10 * time.Second, MinPause: time.Second, Timeout: time.Minute, Tolerated: -1},
	History: []api.Checkpoint{
		{Block: 10, Started: servetest.Now.Add(-40 * time.Second), Duration: 20 * time.Millisecond, Stall: time.Millisecond, Bytes: 1000, Keys: 7, TotalBytes: 1000},
		{Block: 20, Started: servetest.Now.Add(-30 * time.Second), Duration: 40500 * time.Microsecond, Stall: 2 * time.Millisecond, Bytes: 500, Keys: 3, TotalBytes: 1400, Failures: 1},
		{Block: 30, Started: servetest.Now.Add(-20 * time.Second), Duration: 5 * time.Second, Stall: time.Second, Failure: api.FailureStorage, Failures: 5},
	},
	Completed: 2, Failed: 6,
	Duration:    api.Extent[time.Duration]{Average: 30250 * time.Microsecond, Min: 20 * time.Millisecond, Max: 40500 * time.Microsecond},
	Stall:       api.Extent[time.Duration]{Average: 1500 * time.Microsecond, Min: time.Millisecond, Max: 2 * time.Millisecond},
	Bytes:       api.Extent[int64]{Average: 750, Min: 500, Max: 1000},
	Pause:       api.Extent[time.Duration]{Average: 10 * time.Second, Min: 9 * time.Second, Max: 11 * time.Second},
	InProgress:  &api.CheckpointProgress{Block: 30, Started: servetest.Now.Add(-20 * time.Second), Running: 20 * time.Second, Storing: true, Failures: 5},
	LastFailure: &api.CheckpointFailure{Block: 30, Time: servetest.Now.Add(-15 * time.Second), Failure: api.FailureStorage, Reason: "the disk is full"},
	Advice: []api.CheckpointAdvice{
		{Level: "critical", Code: "failing", Value: 5, Unit: "times", Text: "Make room."},
		{Level: "info", Code: "well", Text: "All is well."},
	},
}

func (s *script) fail(t *testing.T, d *datadriven.TestData) {
	w := s.world
	w.SubmitErr, w.DurableErr, w.WaitErr, w.EngineErr = nil, nil, nil, nil
	w.LogErr, w.SavingErr, w.SQLErr, w.StoreErr = nil, nil, nil, nil
	w.CatalogErr, w.LettersErr, w.RedactErr, w.RankErr, w.RankPanic = nil, nil, nil, nil, false
	for _, a := range d.CmdArgs {
		err := fmt.Errorf("%w: %s", api.ErrUnavailable, strings.Join(a.Vals, " "))
		switch a.Key {
		case "submit":
			w.SubmitErr = err
		case "overload":
			w.SubmitErr = api.ErrOverloaded
		case "durable":
			w.DurableErr = err
		case "wait":
			w.WaitErr = err
		case "engine":
			w.EngineErr = errors.New(strings.Join(a.Vals, " "))
		case "log":
			w.LogErr, w.SubmitErr = err, err
		case "saving":
			w.SavingErr = err
		case "sql":
			w.SQLErr = err
		case "catalog":
			w.CatalogErr = err
		case "store":
			w.StoreErr = err
		case "letters":
			w.LettersErr = err
		case "redact":
			w.RedactErr = err
		case "rank":
			w.RankErr = errors.New("a mistake that no client should see")
		case "panic":
			w.RankPanic = true
		default:
			t.Fatalf("%s: unknown part %s", d.Pos, a.Key)
		}
	}
}

// http sends one request to the handler and shows the answer.
func (s *script) http(input string) string {
	head, body, _ := strings.Cut(input, "\n\n")
	lines := strings.Split(strings.TrimRight(head, "\n"), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost:8080"
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if name == "Host" {
			r.Host = strings.TrimSpace(value)
			continue
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	w := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(w, r)
	return shown(w.Result(), w.Body.String())
}

var shownHeaders = []string{"Accept-Encoding", "Allow", "Content-Type", "Retry-After", "Www-Authenticate"}

var masked = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`"request_id": "[A-Z2-7]{26}"`), `"request_id": "RANDOM"`},
	{regexp.MustCompile(`"(heap|total)_bytes": \d+`), `"${1}_bytes": N`},
	{regexp.MustCompile(`"uptime_s": [0-9.e-]+`), `"uptime_s": N`},
	{regexp.MustCompile(`(?m)^(go|process|promhttp)_.*\n`), ""},
	{regexp.MustCompile(`(?m)^# (HELP|TYPE) (go|process|prom).*\n`), ""},
	{regexp.MustCompile(`(duration_seconds_(sum|bucket)\{.*\}) .*`), "$1 N"},
	{regexp.MustCompile(`(?m)^millrace_http_request_duration.*le.*\n`), ""},
}

func shown(r *http.Response, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", r.StatusCode)
	for _, name := range shownHeaders {
		for _, v := range r.Header.Values(name) {
			if name != "Content-Type" || v != "application/json" {
				fmt.Fprintf(&b, "%s: %s\n", name, v)
			}
		}
	}
	var indented bytes.Buffer
	if json.Indent(&indented, []byte(body), "", "  ") == nil {
		body = indented.String()
	}
	for _, m := range masked {
		body = m.pattern.ReplaceAllString(body, m.by)
	}
	b.WriteString(body)
	return b.String()
}

// habits are view values of a user who watched Heat and liked it.
func habits(user string) []operator.ViewWrite {
	const evening = event.Time(978_300_760_000) // 2000-12-31T22:12:40Z, a Sunday
	return []operator.ViewWrite{
		{View: profile.ViewName, Key: user, Value: &profile.View{
			Interests: []profile.Interest{{Category: "Crime", Score: 0.5, Views: 1}, {Category: "War", Score: 0.1}},
			Top:       []profile.Interest{{Category: "Crime", Score: 0.5, Views: 1}},
			Patterns: profile.Patterns{
				Events: 2, Types: tally.Counts{{Name: "rating", N: 1}, {Name: "view", N: 1}},
				PartsOfDay: [4]int64{profile.Evening: 2}, Weekend: 2, Ratings: 1, RatingSum: 4.5,
			},
			LastUpdated: evening,
		}},
		{View: activity.ViewName, Key: user, Value: &activity.View{
			BrowseCount: 2, Counts: tally.Counts{{Name: "impression", N: 3}, {Name: "rating", N: 1}, {Name: "view", N: 1}},
			LastSeen: evening + event.Second,
			Recent: []activity.Interaction{
				{Item: "6", Type: "rating", Time: evening, Value: 4.5, HasValue: true},
				{Item: "unknown", Type: "view", Time: evening - event.Minute},
			},
		}},
		{View: session.ViewName, Key: user, Value: &session.View{
			Open:           &session.Open{Start: evening - event.Minute, Last: evening, Events: 2, Items: []string{"6", "unknown"}},
			ClosedSessions: 2, ClosedLength: 6 * event.Minute,
		}},
	}
}

// row is what the view of neighbours holds.
type row struct {
	items  []string
	scores []float64
}

func (r *row) Len() int                                { return len(r.items) }
func (r *row) Item(i int) string                       { return r.items[i] }
func (r *row) Score(i int) float64                     { return r.scores[i] }
func (r *row) AppendBinary(dst []byte) ([]byte, error) { return dst, nil }

// lists are view values of neighbours, trending items and cohorts' categories.
func lists(t *testing.T, d *datadriven.TestData) []operator.ViewWrite {
	var writes []operator.ViewWrite
	for line := range strings.Lines(d.Input) {
		name, items, _ := strings.Cut(strings.TrimSpace(line), ": ")
		view, key, _ := strings.Cut(name, " ")
		w := operator.ViewWrite{View: view, Key: key}
		neighbors, hot := &row{}, []heat.Hot(nil)
		liked, all := &cohort.Preferences{}, 0.0
		for _, field := range strings.Fields(items) {
			item, number, _ := strings.Cut(field, "=")
			score, err := strconv.ParseFloat(number, 64)
			switch {
			case err != nil:
				t.Fatalf("%s: %v", d.Pos, err)
			case view == "neighbors":
				neighbors.items, neighbors.scores = append(neighbors.items, item), append(neighbors.scores, score)
				w.Value = neighbors
			case view == heat.TrendingView:
				hot = append(hot, heat.Hot{Item: item, Heat: warmth(key, score)})
				w.Value = heat.NewTrending(hot...)
			case view == cohort.ViewName:
				liked.Categories = append(liked.Categories, cohort.Preference{Category: item, Value: warmth("|30d", score), Events: int64(score)})
				all += score
				liked.Total = warmth("|30d", all)
				w.Value = liked
			}
		}
		writes = append(writes, w)
	}
	return writes
}

// warmth is a heat as of 2000-12-24T22:12:40Z, at the half-life of the key.
func warmth(key string, heatThen float64) decay.Value {
	list, names := heat.HalfLives()
	_, name, _ := strings.Cut(key, "|")
	var sum decay.Sum
	sum.Add(list[slices.Index(names, name)].Amount(977_695_960_000, uint32(heatThen*1000)))
	return sum.Value()
}
