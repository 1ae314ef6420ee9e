package file

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/internal/csvline"
	"millrace/source"
)

// Where a record is one line, fields are those of encoding/csv.
func TestSplitAgreesWithEncodingCSV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.StringMatching(`([a-c" ,;é]|"[a-c," ]*"(,|$)){0,12}`).Draw(t, "line")
		sep := rapid.SampledFrom([]byte(",;")).Draw(t, "separator")
		agree(t, line, sep)
	})
}

func agree(t interface{ Errorf(string, ...any) }, line string, sep byte) {
	std := csv.NewReader(strings.NewReader(line))
	std.Comma = rune(sep)
	want, err := std.Read()
	ours := csvline.Row{Separator: sep}
	ok := ours.Split([]byte(line))
	if line == "" {
		return // a blank line, to encoding/csv
	}
	var got []string
	for _, field := range ours.Fields {
		got = append(got, string(field))
	}
	if ok != (err == nil) || ok && !slices.Equal(got, want) {
		t.Errorf("%q: %q %v, encoding/csv %q %v", line, got, ok, want, err)
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`a,b`, `"a","b""c",`, `"a`, `a"b`, `""""`, `"",""`, `,`} {
		f.Add(seed, byte(','))
	}
	f.Fuzz(func(t *testing.T, line string, sep byte) {
		if strings.IndexByte(csvline.Separators(), sep) < 0 || strings.ContainsAny(line, "\r\n") {
			t.Skip()
		}
		agree(t, line, sep)
	})
}

// A number is what strconv makes of the same text, bit for bit.
func checkNumber(t interface{ Errorf(string, ...any) }, text string) {
	want, err := strconv.ParseFloat(text, 64)
	plain := err == nil && !strings.ContainsAny(text, "_xXpPnNiI")
	got, ok := number([]byte(text))
	if ok != plain || ok && math.Float64bits(got) != math.Float64bits(want) {
		t.Errorf("number(%q) = %v %v, strconv %v %v", text, got, ok, want, err)
	}
}

func TestNumberAgreesWithStrconv(t *testing.T) {
	for _, text := range []string{"", ".", "-", "5", "5.", ".5", "0.1", "3.5", "-0", "+1", "1e3", "1e400", "inf", "NaN", "0x1p4", "1_000",
		"123456789012345", "1234567890123456", "0.123456789012345", "9007199254740993", "00000000000000000005", "4,5", "1.2.3", "٣",
		"95142426273599.37", "97758.197234433128"} {
		checkNumber(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		checkNumber(t, rapid.StringMatching(`[-+]?[0-9]{0,18}(\.[0-9]{0,18})?(e[-+]?[0-9]{1,3})?`).Draw(t, "text"))
	})
}

func FuzzNumber(f *testing.F) {
	f.Add("3.5")
	f.Add("1e-7")
	f.Fuzz(func(t *testing.T, text string) { checkNumber(t, text) })
}

func TestNamesAreBounded(t *testing.T) {
	n := newNames()
	for i := range maxNames + 10 {
		if s := n.of(strconv.AppendInt(nil, int64(i), 10)); s != strconv.Itoa(i) {
			t.Fatalf("%d is %q", i, s)
		}
	}
	if len(n.known) > maxNames {
		t.Errorf("%d names are remembered", len(n.known))
	}
	long := []byte(strings.Repeat("x", event.MaxIDBytes+1))
	before := len(n.known)
	if n.of(long) != string(long) || len(n.known) != before {
		t.Error("a text longer than any id is remembered")
	}
	if allocs := testing.AllocsPerRun(100, func() { n.of([]byte("17")); n.of([]byte("18")) }); allocs > 0 {
		t.Errorf("%v allocations for known names", allocs)
	}
}

// inputs are texts of every form, good and bad.
func inputs(t *rapid.T) (name, text string) {
	id := rapid.SampledFrom([]string{"1", "22", "u 3", "é", "", `"q"`, "a,b"})
	stamp := rapid.SampledFrom([]string{"978300760", "1700000000123", "2024-01-01T00:00:00Z", "soon", ""})
	name = rapid.SampledFrom([]string{"ratings.dat", "movies.dat", "users.dat", "a.csv", "a.jsonl", "a.json", "items.jsonl"}).Draw(t, "name")
	line := func(t *rapid.T) string {
		u, i, s := id.Draw(t, "user"), id.Draw(t, "item"), stamp.Draw(t, "time")
		switch {
		case rapid.IntRange(0, 9).Draw(t, "sort") == 0:
			return rapid.SampledFrom([]string{"", " ", "junk", "a,b,c", "[", "{}"}).Draw(t, "junk")
		case strings.HasSuffix(name, ".dat"):
			return strings.Join([]string{u, i, "3", s, "x"}[:3+len(name)%3], "::")
		case name == "a.csv":
			return fmt.Sprintf("%s,%s,%s", u, i, s)
		case name == "items.jsonl":
			return fmt.Sprintf(`{"item_id":%q}`, i)
		}
		return fmt.Sprintf(`{"user_id":%q,"item_id":%q,"timestamp":%q}`, u, i, s)
	}
	lines := rapid.SliceOfN(rapid.Custom(line), 0, 30).Draw(t, "lines")
	text = strings.Join(lines, "\n")
	switch name {
	case "a.csv":
		text = "user,item,ts\n" + text
	case "a.json":
		text = "[" + strings.Join(lines, ",") + "]"
	}
	return name, text
}

// ofText reads a text as a file of that name, the same each time.
func ofText(name, text string) *reader {
	return newReader(place{path: name, stream: strings.NewReader(text)}, kindOf(name), Options{})
}

// rows reads a reader to its end and checks what must hold for any input:
// rows increase, every event and change is valid, and a reader that skipped to
// any of the rows goes on with the next.
func rows(t interface{ Fatalf(string, ...any) }, r source.Reader) (records []string, at []uint64) {
	for {
		record, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) && (len(at) > 0 || !errors.Is(err, ErrColumns)) {
				t.Fatalf("after %d records: %v", len(at), err)
			}
			return records, at
		}
		if len(at) > 0 && record.Row <= at[len(at)-1] {
			t.Fatalf("row %d after row %d", record.Row, at[len(at)-1])
		}
		switch {
		case record.Event != nil:
			if fault := event.Validate(record.Event, event.Options{}); fault != nil {
				t.Fatalf("row %d: %v: %+v", record.Row, fault, *record.Event)
			}
		case record.Change != nil:
			line, err := AppendJSON(nil, record)
			if err != nil || !utf8.Valid(line) {
				t.Fatalf("row %d: %s %v", record.Row, line, err)
			}
		case record.Bad == nil || record.Bad.Err == nil || record.Bad.Err.Expected == "" || record.Bad.Err.Got == "":
			t.Fatalf("row %d: %+v does not say what was expected", record.Row, record)
		}
		records, at = append(records, show(record)), append(at, record.Row)
	}
}

func checkInput(t interface{ Fatalf(string, ...any) }, name, text string) {
	records, at := rows(t, ofText(name, text))
	for i := 0; i <= len(at); i += 1 + len(at)/7 {
		row := uint64(1 << 40)
		if i < len(at) {
			row = at[i]
		}
		r := ofText(name, text)
		if err := r.Skip(row); err != nil && (len(at) > 0 || !errors.Is(err, ErrColumns)) {
			t.Fatalf("Skip(%d): %v", row, err)
		}
		rest, _ := rows(t, r)
		if want := records[min(i+1, len(at)):]; !slices.Equal(rest, want) {
			t.Fatalf("after Skip(%d) %q, want %q", row, rest, want)
		}
	}
}

func TestSkipResumes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, text := inputs(t)
		checkInput(t, name, text)
	})
}

func TestSkipOfNothing(t *testing.T) {
	for _, name := range []string{"ratings.dat", "a.csv", "a.json", "a.jsonl"} {
		r := ofText(name, "")
		if err := r.Skip(5); err != nil {
			t.Errorf("%s: Skip: %v", name, err)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: Next: %v", name, err)
		}
	}
}

// The same for any bytes, in every form.
func FuzzInput(f *testing.F) {
	names := []string{"ratings.dat", "movies.dat", "users.dat", "a.csv", "a.jsonl", "a.json", "items.jsonl", "users.jsonl", "any"}
	for n, text := range []string{
		fewRatings,
		"1::Toy Story (1995)::Comedy\n2::Mis\xe9rables::Drama|War\n",
		"1::F::1::10::48067\n",
		"user,item,ts,w\n0,17,956703932,1.0\n\"a\",\"b\"\"\",1700000000,\n",
		`{"user_id":"a","item_id":"i","timestamp":1700000000}` + "\n" + `{"put_item":{"item_id":"a"}}` + "\n",
		`[{"user_id":"a","item_id":"i","timestamp":1700000000},["a","b",5]]`,
		`{"item_id":"a","metadata":{"a":1}}`,
		`{"user_id":"a","age":5}`,
		"item,title\na,b\n",
	} {
		f.Add(byte(n), []byte(text))
	}
	f.Fuzz(func(t *testing.T, form byte, text []byte) {
		name := names[int(form)%len(names)]
		k := kindOf(name)
		if k == unknown {
			name = "any.csv"
		}
		if strings.HasPrefix(string(text), "\x1f\x8b") || strings.HasPrefix(string(text), "\x28\xb5\x2f\xfd") {
			t.Skip("decompression is the library's")
		}
		checkInput(t, name, string(text))
	})
}
