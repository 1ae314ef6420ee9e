package enginetest_test

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"millrace/engine/embedded"
	"millrace/engine/enginetest"
	"millrace/event"
	"millrace/operator/watermark"
	"millrace/recommend"
	"millrace/source"
	"millrace/source/file"
	"millrace/source/generate"
)

func program() (*embedded.Program, error) {
	types := event.DefaultTypes()
	t := recommend.Topology(types, recommend.Defaults())
	return &embedded.Program{Topology: t, Types: types, Watermarks: watermarks}, t.Err()
}

// blocks runs a stream on the embedded engine with other numbers of shards and
// other block boundaries.
func blocks(t *testing.T, stream enginetest.Stream) enginetest.Contents {
	want := enginetest.Embedded(t, program, stream, 2, 1)
	if len(want) == 0 {
		t.Fatal("the engine holds nothing: the stream is empty")
	}
	enginetest.Equal(t, "embedded, 2 shards and 5 shards with other blocks", want, enginetest.Embedded(t, program, stream, 5, 2))
	return want
}

// interleavings runs a stream on the block-less engine, in order and with
// shards that interleave at random, and compares with the embedded one.
func interleavings(t *testing.T, stream enginetest.Stream, want enginetest.Contents, seeds int) {
	for seed := range seeds {
		enginetest.Equal(t, "embedded and block-less", want, enginetest.BlockLess(t, program, stream, 1+seed*2%5, uint64(seed)))
	}
	t.Logf("%d states and answers agree", len(want))
}

// Generated traffic with late events, repeats, catalogue changes and deletions.
func TestEnginesAgreeOnGeneratedTraffic(t *testing.T) {
	stream := generated(t, 20_000)
	want := blocks(t, stream)
	interleavings(t, stream, want, 4)
	for seed := range uint64(3) {
		enginetest.Equal(t, "embedded and Flink host", want, enginetest.Flink(t, program, stream, 1+int(seed)*2, seed+1))
	}
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

// blockLessRows is how much of MovieLens the block-less engine is given: it
// moves one record at a time, so all of it takes many minutes (`make soak`).
const blockLessRows = 100_000

// MovieLens 1M, where it is there: all of it in blocks, the beginning of it
// without blocks as well.
func TestEnginesAgreeOnMovieLens(t *testing.T) {
	const path = "../../../shared/data/ml-1m"
	if _, err := os.Stat(filepath.Join(path, "movies.dat")); errors.Is(err, fs.ErrNotExist) {
		t.Skip("MovieLens 1M is not at ../shared/data/ml-1m beside the repository")
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	all := movieLens(t, path, math.MaxInt)
	want := blocks(t, all)
	if os.Getenv("MILLRACE_SOAK") != "" {
		interleavings(t, all, want, 2)
		return
	}
	some := movieLens(t, path, blockLessRows)
	interleavings(t, some, blocks(t, some), 2)
}

func movieLens(t *testing.T, path string, most int) enginetest.Stream {
	return func(yield func(*event.Event, *event.Change) bool) {
		readers, err := file.Open(path, file.Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range readers {
			more := records(t, r, func(e *event.Event, c *event.Change) bool {
				n++
				return n <= most && yield(e, c)
			})
			if !more {
				return
			}
		}
	}
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

func watermarks() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(5 * event.Second) }
