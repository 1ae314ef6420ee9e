package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"millrace/eventlog"
	"millrace/serve"
	"millrace/serve/servetest"
)

// fileOf is a new file of that name and content.
func fileOf(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// says runs a command line and returns what it printed to standard error, as
// main does with the error that it ends with.
func says(t *testing.T, args ...string) (stderr string, err error) {
	t.Helper()
	c := newCommand()
	var out bytes.Buffer
	c.SetOut(&bytes.Buffer{})
	c.SetErr(&out)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return out.String(), err
}

// What an import takes for granted is said before it begins.
func TestReplaySaysHowItReadsCSV(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"clicks.csv", "visitor_id,itemid,timestamp,w,colour\n1,2,1700000000,3,red\n",
			"events with the columns user=visitor_id,item=itemid,time=timestamp,value=w; not read: colour; " +
				"no type column: every row is of type view, whose value is kept but does not count (--default-type changes that)"},
		{"ratings.csv", "userId,movieId,rating,timestamp\n1,2,4.5,1700000000\n",
			"events with the columns user=userId,item=movieId,time=timestamp,value=rating; " +
				"no type column: every row is of type rating (--default-type changes that)"},
		{"shop.csv", "user,item,time,event\n1,2,1700000000,cart\n",
			"events with the columns user=user,item=item,time=time,type=event; a row with an empty type is of type view (--default-type changes that)"},
		{"wide.csv", "item,title,a,b,c,d,e,f,g,h,i,j\n1,Tent,,,,,,,,,,\n",
			"items with the columns item=item,title=title; not read: a, b, c, d, e, f, g, h and 2 more"},
	} {
		path := fileOf(t, c.name, c.content)
		out, err := says(t, "replay", path, "--data", t.TempDir())
		if err != nil || !strings.HasPrefix(out, path+": "+c.want+"\n") || strings.Count(out, " with the columns ") != 1 {
			t.Errorf("%v, and it says\n%s\nwant\n%s", err, out, c.want)
		}
	}
}

// One line speaks for all the files of a folder that are understood alike.
func TestReplaySaysOnceHowItReadsFilesThatAreAlike(t *testing.T) {
	path := fileOf(t, "a.csv", "user,item,time\n1,2,1700000000\n")
	for name, content := range map[string]string{"b.csv": "user,item,time\n1,3,1700000000\n", "c.csv": "uid,item,time\n1,3,1700000000\n"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := says(t, "replay", filepath.Dir(path), "--data", t.TempDir())
	if n := strings.Count(out, " with the columns "); err != nil || n != 2 {
		t.Errorf("%d lines (%v), want 2:\n%s", n, err, out)
	}
}

// prefixes are names of Go packages, which say nothing to who runs a command.
var prefixes = regexp.MustCompile(`(^|\s)(eventlog|guard|embedded|operator|generate|serve|event|wire|rank|strconv|time|env|yaml|pflag)(\.\w+)?: `)

// plain checks that an error is told in one line, without names of packages,
// and with the text in it.
func plain(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", want)
		return
	}
	text := message(err)
	if !strings.Contains(text, want) || strings.Contains(text, "\n") || prefixes.MatchString(text) {
		t.Errorf("it says\n%s\nwant one plain line with %q", text, want)
	}
}

// mistakes are command lines, and what is said of each, in a folder with files
// as TestMistakes makes them.
var mistakes = []struct{ line, want string }{
	{"bogus", `there is no command "bogus"; see millrace --help`},
	{"serv", `there is no command "serv": did you mean serve?; see millrace --help`},
	{"serve extra", `serve takes flags only, got "extra"; see millrace serve --help`},
	{"collect extra", `collect takes flags only, got "extra"; see millrace collect --help`},
	{"export extra", `export takes flags only, got "extra"; see millrace export --help`},
	{"worker extra", `worker takes flags only, got "extra"; see millrace worker --help`},
	{"serve --bogus", "unknown flag: --bogus; see millrace serve --help"},
	{"serve --data plain", "--data plain: want a directory, and that is a file"},
	{"serve --data=", "--data: want a directory"},
	{"serve --listen here", `"here": expected HOST:PORT such as 127.0.0.1:8080`},
	{"serve --listen 127.0.0.1:99999", `"127.0.0.1:99999": expected HOST:PORT`},
	{"serve --listen 0.0.0.0:1", "an API key is needed"},
	{"serve --config none.yaml", "none.yaml: no such file or directory"},
	{"serve --log-level loud", `--log-level "loud": want debug, info, warn or error`},
	{"demo --data plain", "--data plain: want a directory"},
	{"replay", "replay wants one PATH, a file, a folder or -, got 0; see millrace replay --help"},
	{"replay none.jsonl", "none.jsonl: no such file or directory"},
	{"replay empty", "expected MovieLens, CSV or JSON Lines files in it"},
	{"replay plain", `it begins with "hi", expected JSON or names of columns`},
	{"replay noise", "it is neither text nor compressed with gzip or zstd"},
	{"replay cut.gz", "cut.gz: the gzip data is damaged or cut off"},
	{"replay when.csv", "user,item,when, has no column that is known as time of events; say which it is with --map time=COLUMN"},
	{"replay none.csv", "1,2,5,978300760, names none that is known: expected user, item and time for events"},
	{"replay when.csv --map time", `--map "time": want NAME=VALUE`},
	{"replay when.csv --map time=then", "time=then, but the columns are user, item, when"},
	{"replay when.csv --map tim=when", `no field "tim" to map, expected one of user, item, time,`},
	{"replay when.csv --default-type clik", `--default-type "clik": want one of cart, click,`},
	{"replay when.csv --type-names a=b", "--type-names a=b: want a= and one of cart, click,"},
	{"replay bad.csv", "nothing was imported: no row could be read; the first is row 2: timestamp: expected a time"},
	{"replay bad.csv --json --data e", "nothing was imported: no row could be read; the first is row 2: timestamp: expected a time"},
	{"replay ok.jsonl --data plain", "--data plain: want a directory"},
	{"replay ok.jsonl --data d --to http://127.0.0.1:1", "--data and --to: want one of them"},
	{"replay ok.jsonl --to=", `--to "": want the address of a server, such as http://127.0.0.1:8080`},
	{"replay ok.jsonl --to ftp://x", `--to "ftp://x": want the address of a server`},
	{"replay ok.jsonl --key secret", "--key: only with --to"},
	{"replay ok.jsonl --speed -1", "--speed -1: want 0 or more"},
	{"replay ok.jsonl --speed x", `--speed "x": want a number; see millrace replay --help`},
	{"generate --events -1", `--events "-1": want a whole number, 0 or more`},
	{"generate --users 0", "users: expected 1 to 2147483647, got 0"},
	{"generate --speed -1", "--speed -1: want 0 or more"},
	{"generate --start yesterday", `--start "yesterday": want a time`},
	{"generate --start 1900-01-01T00:00:00Z", "want a time after 1970"},
	{"generate --to empty", "--to: open empty: is a directory"},
	{"generate --to 127.0.0.1:8080", "for a server write http://127.0.0.1:8080, for a file of that name ./127.0.0.1:8080"},
	{"job J1 --parallelism heat", `--parallelism "heat": want NAME=NUMBER, with commas between several`},
	{"job J1 --parallelism heat=1", "--parallelism heat: J1 has the stages "},
	{"job J1 --parallelism digest=129", `parallelism of "digest": want 1 to 128, got 129`},
	{"job J1 --memory-limit -5", `--memory-limit "-5": want a size such as 512MiB or 1GiB`},
	{"job J1 --checkpoint soon", `--checkpoint "soon": want a duration such as 10s`},
	{"verify --data none", "--data none: no such directory; give the one of millrace serve or millrace replay"},
	{"verify --data plain", "--data plain: want a directory"},
	{"verify --data empty", "--data empty: holds no event log"},
	{"verify --shards 0", "--shards 0: want 1 to 128"},
	{"verify --shards 1000", "--shards 1000: want 1 to 128"},
	{"verify --cpuprofile none/cpu", "--cpuprofile: open none/cpu"},
}

// Typical mistakes are answered with one line that says what is wrong and what
// to do.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"plain": "hi\n", "ok.jsonl": `{"user_id":"a","item_id":"b","timestamp":1700000000}`, "bad.csv": "user,item,time\n1,2,nope\n1,2\n",
		"when.csv": "user,item,when\n1,2,3\n", "none.csv": "1,2,5,978300760\n", "noise": "\x00\x01,\x02\n", "cut.gz": "\x1f\x8b\x08\x00\x00",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, c := range mistakes {
		t.Run(c.line, func(t *testing.T) {
			_, err := says(t, strings.Fields(c.line)...)
			plain(t, err, c.want)
		})
	}
}

// A directory that a server uses is not touched.
func TestDataInUse(t *testing.T) {
	data := imported(t, 10)
	log, err := eventlog.Open(filepath.Join(data, logFolder), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	_, err = says(t, "verify", "--data", data)
	plain(t, err, "directory in use: another millrace process uses "+filepath.Join(data, logFolder)+"; stop the server first")
	_, err = says(t, "replay", generated(t, 10), "--data", data)
	plain(t, err, "; to import into the running server use --to")
	_, err = says(t, "serve", "--data", data, "--listen", "127.0.0.1:0")
	plain(t, err, "directory in use: another millrace process uses ")
}

// A taken port is noticed before anything is made.
func TestListenOnATakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := filepath.Join(t.TempDir(), "data")
	_, err = says(t, "serve", "--data", data, "--listen", l.Addr().String())
	plain(t, err, "can not listen on "+l.Addr().String())
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory was made (%v)", err)
	}
}

// What a server says when it refuses an import is passed on; while there is no
// answer, that is said, once.
func TestServerThatRefuses(t *testing.T) {
	path := fileOf(t, "a.jsonl", `{"user_id":"a","item_id":"b","timestamp":1700000000}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"title":"Unauthorized","detail":"an API key is needed"}`)
	}))
	defer server.Close()
	_, err := says(t, "replay", path, "--to", server.URL)
	plain(t, err, "the server refused the request: 401 Unauthorized: an API key is needed; give the key with --key")

	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var notices bytes.Buffer
	r, err := newRemote(away.URL, "", writer(func(b []byte) {
		if notices.Write(b); bytes.HasSuffix(b, []byte("\n")) {
			stop()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.position(ctx, "a"); err == nil {
		t.Error("an answer of a server that is not there")
	}
	if got := notices.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "no answer from "+away.URL+": ") {
		t.Errorf("it says %q while it waits", got)
	}
}

// A row that is sent to a server and is no event is a dead letter with the
// reason of whoever read the file.
func TestRejectedRowOverHTTP(t *testing.T) {
	path := fileOf(t, "a.csv", "user_id,item_id,timestamp\n1,2,978300760\n1,2,nope\n")
	world := servetest.New()
	server, err := serve.New(serve.Options{Parts: world.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	if _, err := says(t, "replay", path, "--to", web.URL); err != nil {
		t.Fatal(err)
	}
	letters := world.Letters()
	if len(letters) != 1 || string(letters[0].Raw) != "1,2,nope" || !strings.Contains(letters[0].Error, "timestamp: expected ") || !strings.HasSuffix(letters[0].Error, ", got nope") {
		t.Errorf("the dead letters are %q", letters)
	}
}

// The result of an import tells at once what was new and what was not.
func TestReplayResultInWords(t *testing.T) {
	for _, c := range []struct {
		result replayResult
		want   string
	}{
		{replayResult{}, "nothing to import: there are no rows"},
		{replayResult{Skipped: 12}, "nothing new: an earlier import had read 12 rows, which is all there are"},
		{replayResult{Events: 1, ElapsedS: 2, EventsPerS: 0.5}, "1 event and 0 catalogue entries in 2.0 s (0 events/s)"},
		{replayResult{Events: 9, Changes: 1, Duplicates: 1, Rejected: 2, Skipped: 30, ElapsedS: 1, EventsPerS: 9, firstBad: "row 3: bad"},
			"9 events and 1 catalogue entry in 1.0 s (9 events/s), 1 repeat ignored, 2 rows rejected, see GET /v1/deadletters " +
				"(the first: row 3: bad), after 30 rows that an earlier import had read"},
	} {
		if got := c.result.text(); got != c.want {
			t.Errorf("%+v is told as\n%s\nwant\n%s", c.result, got, c.want)
		}
	}
}

func TestMistakesInTheConfiguration(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"shards: x\n", "millrace.yaml, line 1: shards: want a whole number, got x"},
		{"data: d\nfoo: 1\n", `millrace.yaml, line 2: unknown field "foo"`},
		{"checkpoint_interval: 5\n", "millrace.yaml, line 1: checkpoint_interval: want a duration such as 10s, got 5"},
		{"checkpoint_interval: soon\n", "millrace.yaml: checkpoint_interval: want a duration such as 10s, got soon"},
		{"shards: 1.9\n", "millrace.yaml: shards: want a whole number, got 1.9"},
		{"ingest: {max_queued_mib: 0.5}\n", "millrace.yaml: max_queued_mib: want a whole number, got 0.5"},
		{"ingest: {max_queued_mib: 8796093022208}\n", "ingest.max_queued_mib: want 1 to 1048576, got 8796093022208"},
		{"ingest: {max_queued_events: 0}\n", "ingest.max_queued_events: want 1 to 1073741824, got 0"},
		{"parallelism: {heat: 1.5}\n", "millrace.yaml: parallelism: heat: want a whole number, got 1.5"},
		{"parallelism: {heat: 0}\n", "configuration: parallelism: heat: want 1 to 128, got 0"},
		{"parallelism: {heat: 129}\n", "configuration: parallelism: heat: want 1 to 128, got 129"},
		{"parallelism: {heet: 1}\n", "configuration: parallelism: want one of association, clean, heat,"},
		{"parallelism: {activity: 1}\n", `, got "activity"`},
		{"checkpoint_min_pause: -1s\n", "checkpoint_min_pause: want 0s to 24h, got -1s"},
		{"checkpoint_timeout: 1ms\n", "checkpoint_timeout: want at least 100ms, or 0s for none, got 1ms"},
		{"checkpoint_timeout: -1s\n", "checkpoint_timeout: want at least 100ms, or 0s for none, got -1s"},
		{"checkpoint_tolerated_failures: -2\n", "checkpoint_tolerated_failures: want 0 to 1000000, or -1 for any number, got -2"},
		{"checkpoint_tolerated_failures: many\n", "millrace.yaml, line 1: checkpoint_tolerated_failures: want a whole number, got many"},
		{"state: rocksdb\n", `state: want pebble, file or memory, got "rocksdb"`},
		{"event_types: {view: x}\n", "millrace.yaml, line 1: view: want a number, got x"},
		{"ingest: 5\n", "millrace.yaml, line 1: ingest: int was used where mapping is expected"},
		{"keys: secret-key\n", "millrace.yaml, line 1: keys: string was used where sequence is expected"},
		{"a: [\n", "millrace.yaml, line 1: a: sequence end token ']' not found"},
		{"event_types: {view: 1000000}\n", `event_types: invalid set of event types: the weight of "view" is 1e+06`},
		{"shards: 1000\n", "shards: want 0 to 128, got 1000"},
		{"data: ''\n", "data: want a directory"},
	} {
		t.Run(c.content, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			_, err := says(t, "serve", "--listen", "127.0.0.1:0", "--data", dir, "--config", fileOf(t, "millrace.yaml", c.content))
			plain(t, err, c.want)
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the data directory was made (%v)", err)
			}
		})
	}
	for name, want := range map[string]string{
		"MILLRACE_SHARDS":              `MILLRACE_SHARDS: want a whole number, got "x"`,
		"MILLRACE_MAX_QUEUED_MIB":      `MILLRACE_MAX_QUEUED_MIB: want a whole number, got "x"`,
		"MILLRACE_CHECKPOINT_INTERVAL": `MILLRACE_CHECKPOINT_INTERVAL: want a duration such as 10s, got "x"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			_, err := says(t, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir())
			plain(t, err, want)
		})
	}
}

func TestMessageIsOneLine(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.Join(errors.New("one"), nil, errors.New("two\n  three\n")), "one; two; three"},
		{errors.New("stage heat: boom\ngoroutine 7 [running]:\nmain.main()\n"), "stage heat: boom"},
		{fmt.Errorf("reading: %w", context.Canceled), "interrupted"},
	} {
		if got := message(c.err); got != c.want {
			t.Errorf("%q is told as %q, want %q", c.err, got, c.want)
		}
	}
}
