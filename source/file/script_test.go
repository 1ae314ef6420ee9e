package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"millrace/event"
	"millrace/source"
)

// show is a record in words.
func show(r source.Record) string {
	switch {
	case r.Bad != nil:
		field := r.Bad.Err.Field
		if field == "" {
			field = "line"
		}
		return fmt.Sprintf("%d bad %s: expected %s, got %s", r.Row, field, r.Bad.Err.Expected, r.Bad.Err.Got)
	case r.Event != nil:
		return fmt.Sprintf("%d %s", r.Row, event.AppendJSON(nil, r.Event))
	}
	line, err := AppendJSON(nil, r)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", r.Row, line)
}

// showAll reads a reader to its end and checks what holds for every one: rows
// increase, the end stays the end, and all of the input was read.
func showAll(t testing.TB, r source.Reader) (records []string) {
	t.Helper()
	row := uint64(0)
	for {
		record, err := r.Next()
		if err != nil {
			if _, again := r.Next(); !errors.Is(again, err) {
				t.Errorf("after %v: %v", err, again)
			}
			if !errors.Is(err, io.EOF) {
				records = append(records, "error: "+err.Error())
			} else if r.Total() > 0 && r.Done() != r.Total() {
				t.Errorf("%d of %d bytes done at the end", r.Done(), r.Total())
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			return records
		}
		if record.Row <= row {
			t.Errorf("row %d after row %d", record.Row, row)
		}
		row = record.Row
		records = append(records, show(record))
	}
}

// The scripts are the forms of files and what is read from them. Fingerprints
// are written as FILE.
var fingerprints = regexp.MustCompile(`"[0-9a-f]{8}:r|"[0-9a-f]{16}:r`)

func options(t *testing.T, d *datadriven.TestData) Options {
	opt := Options{Map: map[string]string{}, TypeNames: map[string]string{}, NoHeader: d.HasArg("no-header")}
	pairs := func(name string, into map[string]string) {
		for _, arg := range d.CmdArgs {
			if arg.Key == name {
				for _, pair := range arg.Vals {
					key, value, _ := strings.Cut(pair, ":")
					into[key] = value
				}
			}
		}
	}
	pairs("map", opt.Map)
	pairs("types", opt.TypeNames)
	d.MaybeScanArgs(t, "default-type", &opt.DefaultType)
	var format string
	d.MaybeScanArgs(t, "format", &format)
	opt.Format = Format(format)
	if d.HasArg("now") {
		var now int64
		d.ScanArgs(t, "now", &now)
		opt.Event.Now = event.Time(now)
	}
	return opt
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			input := d.Input
			if d.HasArg("escaped") { // bytes that are no text, as in Go strings
				unquoted, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.ReplaceAll(input, `"`, `\"`), "\n", `\n`) + `"`)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				input = unquoted
			}
			dir := t.TempDir()
			opt, open := options(t, d), dir
			var out strings.Builder
			if d.HasArg("layout") {
				opt.Describe = func(l Layout) {
					l.Path = filepath.Base(l.Path)
					fmt.Fprintf(&out, "%+v\n", l)
				}
			}
			switch d.Cmd {
			case "stdin":
				opt.Stdin, open = strings.NewReader(input), "-"
			case "file":
				open = filepath.Join(dir, d.CmdArgs[0].Key)
				write(t, open, input)
			case "folder": // sections of files, each after "== name"
				for section := range strings.SplitSeq(input, "== ") {
					if name, content, ok := strings.Cut(section, "\n"); ok {
						write(t, filepath.Join(dir, name), content)
					}
				}
			}
			readers, err := Open(open, opt)
			if err != nil {
				return "error: " + strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
			}
			for _, r := range readers {
				if d.Cmd == "folder" {
					name, _, _ := strings.Cut(r.Name(), "@")
					fmt.Fprintf(&out, "== %s\n", name)
				}
				for _, record := range showAll(t, r) {
					record = strings.ReplaceAll(record, dir, "DIR")
					out.WriteString(fingerprints.ReplaceAllString(record, `"FILE:r`) + "\n")
				}
			}
			return out.String()
		})
	})
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
