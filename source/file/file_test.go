package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"millrace/event"
	"millrace/source"
	"millrace/source/generate"
)

func compressed(t testing.TB, how, text string) string {
	var b bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return text
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func openOne(t testing.TB, path string, opt Options) source.Reader {
	t.Helper()
	readers, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(readers) != 1 {
		t.Fatalf("%d readers of %s", len(readers), path)
	}
	t.Cleanup(func() { readers[0].Close() })
	return readers[0]
}

const fewRatings = "1::10::5::978300760\n1::11::4::978300761\nbad\n\n2::10::3::978300762\n"

// Compression is told by content, so a suffix may be missing or wrong; several
// compressed parts one after the other are one file.
func TestCompression(t *testing.T) {
	want := showAll(t, openOne(t, writeTemp(t, "ratings.dat", fewRatings), Options{}))
	for _, c := range []struct{ name, content string }{
		{"ratings.dat.gz", compressed(t, "gzip", fewRatings)},
		{"ratings.dat.zst", compressed(t, "zstd", fewRatings)},
		{"ratings.dat.gz", fewRatings},
		{"ratings.dat", compressed(t, "zstd", fewRatings)},
		{"ratings.dat.zst", compressed(t, "gzip", fewRatings)},
		{"Ratings.DAT.GZ", compressed(t, "gzip", fewRatings[:20]) + compressed(t, "gzip", fewRatings[20:])},
		{"ratings.dat.zstd", compressed(t, "zstd", fewRatings[:20]) + compressed(t, "zstd", fewRatings[20:])},
	} {
		got := showAll(t, openOne(t, writeTemp(t, c.name, c.content), Options{}))
		if without(got) != without(want) {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
}

// without is records without what depends on the bytes of the file.
func without(records []string) string {
	return fingerprints.ReplaceAllString(strings.Join(records, "\n"), `"FILE:r`)
}

func writeTemp(t testing.TB, name, content string) string {
	path := filepath.Join(t.TempDir(), name)
	write(t, path, content)
	return path
}

// What can be read of a damaged file is read; then the error says where.
func TestDamagedFiles(t *testing.T) {
	rows := strings.Repeat("1::10::5::978300760\n", 5000)
	for _, how := range []string{"gzip", "zstd"} {
		whole := compressed(t, how, rows)
		path := writeTemp(t, "ratings.dat", whole[:len(whole)-3])
		records := showAll(t, openOne(t, path, Options{}))
		if last := records[len(records)-1]; !strings.HasPrefix(last, "error: reading "+path+" after row ") || !strings.Contains(last, "the "+how+" data is damaged or cut off") {
			t.Errorf("%s cut off: the last of %d records is %s", how, len(records), last)
		}
		if readers, err := Open(writeTemp(t, "ratings.dat", whole[:5]), Options{}); err == nil {
			if records = showAll(t, readers[0]); len(records) != 1 || !strings.HasPrefix(records[0], "error: ") {
				t.Errorf("%s cut off in its header: %q", how, records)
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none.csv"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, ErrFormat) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Open(writeTemp(t, "a.csv", "x,y\n"), Options{}); !errors.Is(err, ErrColumns) {
		t.Errorf("unknown columns: %v", err)
	}
	r := openOne(t, writeTemp(t, "ratings.dat", fewRatings), Options{})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}

// Names and event ids are of the content: they stay the same from run to run
// and are others for another file.
func TestNames(t *testing.T) {
	name := func(file, content string) (string, string) {
		r := openOne(t, writeTemp(t, file, content), Options{})
		record, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		return r.Name(), record.Event.ID
	}
	base, id := name("ratings.dat", fewRatings)
	if !strings.HasPrefix(base, "ratings.dat@") || len(base) != len("ratings.dat@")+16 || !strings.HasSuffix(id, ":r1") {
		t.Errorf("name %q, event id %q", base, id)
	}
	if again, sameID := name("ratings.dat", fewRatings); again != base || sameID != id {
		t.Errorf("the same content is %q, %q and %q, %q", base, id, again, sameID)
	}
	padding := strings.Repeat("1::10::5::978300760\n", 4000)
	seen := map[string]bool{base: true, id: true}
	for _, other := range []string{fewRatings + "\n", strings.Replace(fewRatings, "5", "4", 1), padding, padding + "\n"} {
		n, otherID := name("ratings.dat", other)
		if seen[n] || seen[otherID] {
			t.Errorf("another content is %q, %q too", n, otherID)
		}
		seen[n], seen[otherID] = true, true
	}
}

// Rows that look the same keep apart on standard input, and the same input
// gives the same event ids.
func TestStandardInput(t *testing.T) {
	line := `{"user_id":"a","item_id":"i","timestamp":1700000000}` + "\n"
	ids := func(text string) (ids []string) {
		r := openOne(t, "-", Options{Stdin: strings.NewReader(text)})
		if r.Name() != "" || r.Total() != 0 {
			t.Errorf("name %q, %d bytes", r.Name(), r.Total())
		}
		for {
			record, err := r.Next()
			if errors.Is(err, io.EOF) {
				return ids
			}
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, record.Event.ID)
		}
	}
	first := ids(line + line)
	if first[0] == first[1] || !slices.Equal(first, ids(line+line)) {
		t.Errorf("event ids %q", first)
	}
	if other := ids(strings.Replace(line, "a", "b", 1)); other[0] == first[0] {
		t.Errorf("another event has the id %q too", other[0])
	}
	if got := showAll(t, openOne(t, "-", Options{Stdin: strings.NewReader(compressed(t, "gzip", line))})); len(got) != 1 {
		t.Errorf("compressed: %q", got)
	}
}

// On a pipe, every line is there as soon as it is written, and Ready says when
// there is none.
func TestLiveInput(t *testing.T) {
	out, in := io.Pipe()
	r := openOne(t, "-", Options{Stdin: out})
	lines := make(chan string)
	go func() {
		defer in.Close()
		for line := range lines {
			io.WriteString(in, line)
		}
	}()
	lines <- "user,item,ts\na,1,1700000000\nb,"
	for _, next := range []string{"2,1700000000\n", "c,3,1700000000\nd,4,1700000000\n", ""} {
		record, err := r.Next()
		if err != nil || record.Event == nil {
			t.Fatalf("%+v, %v", record, err)
		}
		if r.(source.Live).Ready() != (record.Event.User == "c") {
			t.Errorf("after the event of %s Ready is %v", record.Event.User, r.(source.Live).Ready())
		}
		lines <- next
	}
	close(lines)
	if rest := showAll(t, r); len(rest) != 1 {
		t.Errorf("the rest is %q", rest)
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", maxLine*5/2)
	for name, text := range map[string]string{
		"ratings.dat": "1::10::5::978300760\n" + long + "\n1::11::5::978300760\n" + long,
		"a.csv":       "user,item,ts\n" + long + "\n1,10,1700000000\n" + long,
		"a.jsonl":     `{"user_id":"` + long + "\"}\n" + `{"user_id":"a","item_id":"i","timestamp":1700000000}` + "\n" + long,
	} {
		good, bad := 0, 0
		r := openOne(t, writeTemp(t, name, text), Options{})
		for {
			record, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			switch {
			case err != nil:
				t.Fatal(err)
			case record.Event != nil:
				good++
			case len(record.Bad.Raw) != source.MaxBadBytes || len(record.Bad.Err.Got) > 200:
				t.Errorf("%s: %d raw bytes, got %q", name, len(record.Bad.Raw), record.Bad.Err.Got)
			default:
				bad++
			}
		}
		if bad != 2 || good == 0 {
			t.Errorf("%s: %d good and %d bad records", name, good, bad)
		}
	}
}

// An element of an array that does not end fills no memory.
func TestLongElement(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`[{"user_id":"a","item_id":"i","timestamp":1700000000},{"user_id":"`), letters{})
	records := showAll(t, openOne(t, "-", Options{Stdin: endless}))
	if len(records) != 2 || !strings.Contains(records[1], "bad line: expected a JSON array to its end") {
		t.Errorf("%d records, the last %.200s", len(records), records[len(records)-1])
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// Many files: none is open before it is read or after its end.
func TestFilesAreClosed(t *testing.T) {
	dir := t.TempDir()
	for n := range 50 {
		write(t, filepath.Join(dir, fmt.Sprintf("%02d.csv.gz", n)), compressed(t, "gzip", "user,item,ts\na,b,1700000000\n"))
	}
	readers, err := Open(dir, Options{})
	if err != nil || len(readers) != 50 {
		t.Fatalf("%d readers, %v", len(readers), err)
	}
	for _, r := range readers {
		if r.(*reader).input != nil {
			t.Fatal("open before it is read")
		}
		if records := showAll(t, r); len(records) != 1 || r.(*reader).input != nil {
			t.Fatalf("%q, open %v", records, r.(*reader).input != nil)
		}
	}
}

// What the generator makes, written and read, is the same.
func TestGeneratedTrafficSurvivesItsFile(t *testing.T) {
	cfg := generate.DefaultConfig()
	cfg.Users, cfg.Items, cfg.ItemInterval, cfg.EventIDs = 50, 100, 500*event.Millisecond, true
	traffic, err := generate.NewReader(cfg, 5000)
	if err != nil {
		t.Fatal(err)
	}
	defer traffic.Close()
	var text []byte
	var want []string
	for {
		record, err := traffic.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if text, err = AppendJSON(text, record); err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		want = append(want, binary(record))
	}
	r := openOne(t, writeTemp(t, "traffic.jsonl.zst", compressed(t, "zstd", string(text))), Options{})
	for row, w := range want {
		record, err := r.Next()
		if err != nil || record.Bad != nil || binary(record) != w {
			t.Fatalf("row %d is %s, %v", row+1, show(record), err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
}

func binary(r source.Record) string {
	if r.Event != nil {
		return string(event.AppendEvent(nil, r.Event))
	}
	return string(event.AppendChange(nil, r.Change))
}

func TestAppendJSONRefuses(t *testing.T) {
	for _, r := range []source.Record{
		{},
		{Bad: &source.Bad{}},
		{Change: &event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: "a"}}},
		{Change: &event.Change{Kind: event.PutItem, Item: &event.Item{ID: "a", Metadata: []byte("{")}}},
	} {
		if line, err := AppendJSON([]byte("x"), r); !errors.Is(err, ErrRecord) || string(line) != "x" {
			t.Errorf("%+v is %s, %v", r, line, err)
		}
	}
}

// The real data, where it is at hand.
func TestRealData(t *testing.T) {
	const data = "../../../shared/data"
	if _, err := os.Stat(data); err != nil {
		t.Skipf("no data in %s: %v", data, err)
	}
	for _, c := range []struct {
		path                         string
		changes, events, bad, inputs int
	}{
		{"ml-1m", 3883 + 6040, 1_000_209, 0, 3},
		{"streams/rsc15_100k.csv.gz", 0, 83_846, 0, 1},
		{"streams/movietweetings100k.csv.gz", 0, 100_000, 0, 1},
	} {
		readers, err := Open(filepath.Join(data, c.path), Options{})
		if err != nil {
			t.Fatal(err)
		}
		changes, events, bad := 0, 0, 0
		for _, r := range readers {
			for {
				record, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				switch {
				case err != nil:
					t.Fatal(err)
				case record.Event != nil:
					events++
				case record.Change != nil:
					changes++
				default:
					bad++
					t.Log(show(record))
				}
			}
		}
		if changes != c.changes || events != c.events || bad != c.bad || len(readers) != c.inputs {
			t.Errorf("%s: %d inputs with %d changes, %d events and %d bad, want %+v", c.path, len(readers), changes, events, bad, c)
		}
	}
}
