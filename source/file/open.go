// Package file reads events and catalogues from files: MovieLens folders, CSV
// and JSON Lines, plain or compressed with gzip or zstd. The README of source
// shows every form with an example.
//
// Rows are parsed from bytes by hand: at more than a million rows a second
// nothing may be allocated for a row but its event_id. What cannot be parsed
// is a bad record that names the row, the field and what was expected.
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"millrace/event"
	"millrace/source"
)

// The errors of this package, wrapped with the file and what was being done.
var (
	// ErrFormat says that a path has nothing in it that can be read.
	ErrFormat = errors.New("no known format")
	// ErrColumns says that the columns of a CSV file cannot be made out.
	ErrColumns = errors.New("columns do not fit")
)

// Format is what a file of events is written in.
type Format string

// The formats that can be asked for. Auto goes by name and content.
const (
	Auto      Format = ""
	CSV       Format = "csv"
	JSONLines Format = "jsonl"
)

// Options say how to read. The zero value is what most files need.
type Options struct {
	// Format, unless Auto, is that of a single file whose name does not say it.
	Format Format
	// Map says which column of a CSV file holds which field. The fields are
	// user, item, time, type, value, session, request and id; what it does
	// not name is found by the usual names. With NoHeader, columns are
	// numbers from 1.
	Map map[string]string
	// NoHeader says that the first line of a CSV file is a row, not names.
	NoHeader bool
	// TypeNames translates the event types of CSV files, for example
	// "addtocart" to "cart".
	TypeNames map[string]string
	// DefaultType is the type of events in CSV files without a type: unless
	// set, rating where the name of the value column is that of ratings, else
	// view.
	DefaultType string
	// Event has the event types that are known, and the present if events
	// from the future shall be refused.
	Event event.Options
	// Describe, if set, is told how each CSV file is understood, before its
	// first row is read: of files in Open, of streams when they begin.
	Describe func(Layout)
	// Stdin is what the path "-" reads; nil is os.Stdin.
	Stdin io.Reader
}

// Open lists the inputs of a path in the order in which they shall be read:
// the catalogue first (items, then users), then events by file name. The path
// is a file, "-" for standard input, or a folder, with all the folders in it.
// A folder with MovieLens ratings is read as such and its other files are left
// alone; from any other, files are taken by their suffix.
//
// The inputs are checked but not kept open: each opens its file when it is
// first read and closes it at its end, so a folder may have any number. Errors
// wrap ErrFormat, ErrColumns or an fs.PathError.
func Open(path string, opt Options) ([]source.Reader, error) {
	if path == "-" {
		stdin := opt.Stdin
		if stdin == nil {
			stdin = os.Stdin
		}
		return []source.Reader{newReader(place{path: "standard input", stream: stdin}, byContent, opt)}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("nothing to import: %w", err)
	}
	found := []candidate{{path, kindOf(path)}}
	if info.IsDir() {
		if found, err = search(path); err != nil {
			return nil, fmt.Errorf("searching %s: %w", path, err)
		}
	} else if opt.Format != Auto || found[0].kind == unknown {
		found[0].kind = byContent
	}
	var readers []*reader
	for _, c := range found {
		r, err := check(c, opt)
		if err != nil {
			if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
				return nil, err // it names the file
			}
			return nil, fmt.Errorf("%s: %w", c.path, err)
		}
		readers = append(readers, r)
	}
	if len(readers) == 0 {
		return nil, fmt.Errorf("%s: %w: expected MovieLens, CSV or JSON Lines files in it", path, ErrFormat)
	}
	slices.SortStableFunc(readers, func(a, b *reader) int { return int(a.content) - int(b.content) })
	list := make([]source.Reader, len(readers))
	for i, r := range readers {
		list[i] = r
	}
	return list, nil
}

// check makes the reader of a file and sees whether it can be read.
func check(c candidate, opt Options) (*reader, error) {
	where, err := fingerprint(c.path)
	if err != nil {
		return nil, err
	}
	r := newReader(where, c.kind, opt)
	if where.stream != nil {
		return r, nil // a pipe can be read once
	}
	if err := r.open(); err != nil && !errors.Is(err, io.EOF) {
		_ = r.release() // of what cannot be read, which err says
		return nil, err
	}
	return r, r.reset()
}

// candidate is a file that is to be read, and what its name says of it.
type candidate struct {
	path string
	kind kind
}

// search lists the files in a folder and its folders that are to be read.
func search(root string) ([]candidate, error) {
	perFolder := map[string][]candidate{}
	var folders []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := path != root && strings.HasPrefix(d.Name(), ".")
		if d.IsDir() {
			if hidden {
				return fs.SkipDir
			}
			folders = append(folders, path)
			return nil
		}
		// Links to files are followed, links to folders are not.
		if info, err := os.Stat(path); err != nil || hidden || !info.Mode().IsRegular() {
			return err
		}
		if k := kindOf(path); k != unknown {
			folder := filepath.Dir(path)
			perFolder[folder] = append(perFolder[folder], candidate{path, k})
		}
		return nil
	})
	var found []candidate
	for _, folder := range folders {
		found = append(found, ofFolder(perFolder[folder])...)
	}
	return found, err
}

// ofFolder leaves out what lies beside the three files of MovieLens: tags.csv,
// links.csv and the like have no events.
func ofFolder(files []candidate) []candidate {
	if !slices.ContainsFunc(files, func(c candidate) bool { return stem(c.path) == "ratings" }) {
		return files
	}
	return slices.DeleteFunc(files, func(c candidate) bool {
		return !slices.Contains([]string{"ratings", "movies", "users"}, stem(c.path))
	})
}

// plainName is the name of a file in lower case without its folder and the
// suffix of its compression.
func plainName(path string) string {
	name := strings.ToLower(filepath.Base(path))
	for _, suffix := range []string{".gz", ".gzip", ".zst", ".zstd"} {
		if trimmed, ok := strings.CutSuffix(name, suffix); ok {
			return trimmed
		}
	}
	return name
}

func stem(path string) string {
	name := plainName(path)
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// kind is the form of a file, as far as its name says.
type kind uint8

const (
	unknown   kind = iota
	byContent      // what its first bytes look like
	ratingsDat
	moviesDat
	usersDat
	csvFile // its header says whether of events, items or users
	eventsJSON
	itemsJSON
	usersJSON
)

func kindOf(path string) kind {
	switch name := plainName(path); name {
	case "ratings.dat":
		return ratingsDat
	case "movies.dat":
		return moviesDat
	case "users.dat":
		return usersDat
	default:
		switch filepath.Ext(name) {
		case ".csv", ".tsv":
			return csvFile
		case ".jsonl", ".ndjson", ".json":
			switch stem(path) {
			case "items":
				return itemsJSON
			case "users":
				return usersJSON
			}
			return eventsJSON
		}
	}
	return unknown
}
