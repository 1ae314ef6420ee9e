package enginetest_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"millrace/engine/embedded"
	"millrace/engine/enginetest"
	"millrace/event"
	"millrace/recommend"
	"millrace/source"
	"millrace/source/file"
	"millrace/source/generate"
)

func program() (*embedded.Program, error) {
	types := event.DefaultTypes()
	t := recommend.Topology(types, recommend.Defaults())
	return &embedded.Program{Topology: t, Types: types, OutOfOrderness: 5 * event.Second}, t.Err()
}

// check runs a stream on the embedded engine with several numbers of shards
// and block boundaries, and on the block-less one with several interleavings.
func check(t *testing.T, stream enginetest.Stream, interleavings int) {
	want := enginetest.Embedded(t, program, stream, 2, 1)
	if len(want) == 0 {
		t.Fatal("the engine holds nothing: the stream is empty")
	}
	enginetest.Equal(t, "embedded, 2 shards and 5 shards with other blocks", want, enginetest.Embedded(t, program, stream, 5, 2))
	for seed := range interleavings {
		enginetest.Equal(t, "embedded and block-less", want, enginetest.BlockLess(t, program, stream, 1+seed*2%5, uint64(seed)))
	}
	t.Logf("%d states and answers agree", len(want))
}

// Generated traffic with late events, repeats, catalogue changes and deletions.
func TestEnginesAgreeOnGeneratedTraffic(t *testing.T) {
	check(t, generated(t, 20_000), 4)
}

func generated(t *testing.T, events uint64) enginetest.Stream {
	return func(yield func(*event.Event, *event.Change) bool) {
		cfg := generate.DefaultConfig()
		cfg.Users, cfg.Items, cfg.EventIDs, cfg.EventsPerSecond = 300, 200, true, 2
		cfg.ItemInterval = 10 * event.Minute
		reader, err := generate.NewReader(cfg, events)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		records(t, reader, func(e *event.Event, c *event.Change) bool {
			n++
			switch {
			case e == nil:
			case n%97 == 0: // far too late
				e.Time -= event.Time(n%7) * event.Hour
			case n%101 == 0: // sent twice
				if !yield(e, nil) {
					return false
				}
			case n%1500 == 0:
				if !yield(nil, &event.Change{Kind: event.DeleteUser, User: &event.User{ID: e.User}}) {
					return false
				}
			case n%1700 == 0:
				if !yield(nil, &event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: e.Item}}) {
					return false
				}
			}
			return yield(e, c)
		})
	}
}

// MovieLens 1M, where it is there.
func TestEnginesAgreeOnMovieLens(t *testing.T) {
	const path = "../../../shared/data/ml-1m"
	if _, err := os.Stat(filepath.Join(path, "movies.dat")); errors.Is(err, fs.ErrNotExist) {
		t.Skip("MovieLens 1M is not at ../shared/data/ml-1m beside the repository")
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	check(t, func(yield func(*event.Event, *event.Change) bool) {
		readers, err := file.Open(path, file.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range readers {
			if !records(t, r, yield) {
				return
			}
		}
	}, 2)
}

// records reads a source to its end, unless yield says no.
func records(t *testing.T, r source.Reader, yield func(*event.Event, *event.Change) bool) bool {
	defer r.Close()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil || record.Bad != nil {
			t.Fatalf("read %s: %v %v", r.Name(), err, record.Bad)
		}
		e, c := record.Event, record.Change
		if e != nil {
			copied := *e
			e = &copied
		}
		if !yield(e, c) {
			return false
		}
	}
}
