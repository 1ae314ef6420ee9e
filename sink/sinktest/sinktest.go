// Package sinktest is what every sink.Sink has to pass.
package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/operator/publish"
	"millrace/sink"
)

// Target is where sinks publish to in a test: it outlives them.
type Target interface {
	// New makes a sink that publishes to the target under a name, as the
	// process that starts next would.
	New(name string) sink.Sink
	// Records are the records that readers of committed data see, of all topics;
	// those of a topic and key in their order.
	Records() []publish.Record
}

// aspect is one thing that is demanded of sinks.
type aspect struct {
	name string
	test func(t *testing.T, target Target)
}

// aspects are those that hold however records are delivered.
func aspects() []aspect {
	return []aspect{
		{"a new sink has no progress", testNew},
		{"records and progress stay", testStay},
		{"order", testOrder},
		{"any keys and values", testAnything},
		{"a second sink takes over", testFenced},
		{"names are apart", testNames},
		{"opened again", testOpenAgain},
		{"progress may go back", testBack},
	}
}

// Run has the sinks of targets pass: made gives a new, empty one.
func Run(t *testing.T, made func(t *testing.T) Target) {
	run(t, made, aspect{"a commit whose time is over", func(t *testing.T, target Target) { testTimeOver(t, target, Same) }})
}

// RunAtLeastOnce is Run for sinks whose commits that failed may be there in part.
func RunAtLeastOnce(t *testing.T, made func(t *testing.T) Target) {
	run(t, made, aspect{"a commit whose time is over", func(t *testing.T, target Target) { testTimeOver(t, target, Cover) }})
}

func run(t *testing.T, made func(t *testing.T) Target, more ...aspect) {
	for _, a := range append(aspects(), more...) {
		t.Run(a.name, func(t *testing.T) { a.test(t, made(t)) })
	}
}

const name = "test"

func open(t *testing.T, s sink.Sink) sink.Progress {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := s.Open(ctx)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

func commit(t *testing.T, s sink.Sink, p sink.Progress, blocks ...sink.Block) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Commit(ctx, blocks, p); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func end(t *testing.T, s sink.Sink) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func record(topic, key, value string) publish.Record {
	return publish.Record{Topic: topic, Key: key, Value: []byte(value)}
}

func block(n uint64, records ...publish.Record) sink.Block {
	return sink.Block{Number: n, Time: 1_700_000_000_000, Records: records}
}

func want(t *testing.T, target Target, want ...publish.Record) {
	t.Helper()
	Same(t, target.Records(), want)
}

// Same demands that the same records were read as were published: each as often,
// and those of a topic and key in their order.
func Same(t *testing.T, got, want []publish.Record) {
	t.Helper()
	line := func(r publish.Record) string { return fmt.Sprintf("%s %q %q", r.Topic, r.Key, r.Value) }
	sorted := func(records []publish.Record) []string {
		slices.SortStableFunc(records, func(a, b publish.Record) int {
			return strings.Compare(a.Topic+"\x00"+a.Key, b.Topic+"\x00"+b.Key)
		})
		lines := make([]string, len(records))
		for i, r := range records {
			lines[i] = line(r)
		}
		return lines
	}
	a, b := sorted(slices.Clone(got)), sorted(slices.Clone(want))
	if !slices.Equal(a, b) {
		t.Errorf("%d records are committed, want %d:\n%s\nwant\n%s", len(a), len(b), cut(a), cut(b))
	}
}

// Cover demands that the records that were read are those that were published,
// each at least once: without the repeats, those of a topic and key are in their
// order. No two of want are the same.
func Cover(t *testing.T, got, want []publish.Record) {
	t.Helper()
	seen := map[string]bool{}
	Same(t, slices.DeleteFunc(slices.Clone(got), func(r publish.Record) bool {
		line := fmt.Sprintf("%q %q %q", r.Topic, r.Key, r.Value)
		repeated := seen[line]
		seen[line] = true
		return repeated
	}), want)
}

// cut is the first of the lines, as far as people want to read them.
func cut(lines []string) string {
	short := slices.Clone(lines[:min(20, len(lines))])
	for i, l := range short {
		short[i] = l[:min(80, len(l))]
	}
	return strings.Join(short, "\n")
}

func testNew(t *testing.T, target Target) {
	s := target.New(name)
	if p := open(t, s); p != (sink.Progress{}) {
		t.Errorf("progress is %+v, want none", p)
	}
	end(t, s)
	want(t, target)
}

func testStay(t *testing.T, target Target) {
	s := target.New(name)
	open(t, s)
	at := sink.Progress{Log: "LOG", Run: "RUN", Block: 7}
	commit(t, s, at, block(5, record("a", "k", "1")), block(7, record("a", "k", "2"), record("b", "k", "3")))
	end(t, s)
	next := target.New(name)
	if p := open(t, next); p != at {
		t.Errorf("progress is %+v, want %+v", p, at)
	}
	at.Run, at.Block = "NEXT", 1<<40
	commit(t, next, at, block(1<<40, record("b", "k", "4")))
	end(t, next)
	last := target.New(name)
	if p := open(t, last); p != at {
		t.Errorf("progress is %+v, want %+v", p, at)
	}
	end(t, last)
	want(t, target, record("a", "k", "1"), record("a", "k", "2"), record("b", "k", "3"), record("b", "k", "4"))
}

func testOrder(t *testing.T, target Target) {
	s := target.New(name)
	open(t, s)
	var all []publish.Record
	for n := range uint64(10) {
		b := block(n + 1)
		for i := range 200 {
			b.Records = append(b.Records, record("a", fmt.Sprint("k", i%7), fmt.Sprint(n, " ", i)))
		}
		all = append(all, b.Records...)
		commit(t, s, sink.Progress{Log: "LOG", Block: n + 1}, b)
	}
	end(t, s)
	want(t, target, all...)
}

func testAnything(t *testing.T, target Target) {
	s := target.New(name)
	open(t, s)
	all := []publish.Record{
		record("view.age.25-34", "", `{}`), record("view.age.25-34", "\x00\xff\n", `{"a":"\u0000"}`),
		record("view.gender._", "电影", `"点赞成功"`), record("UPPER-lower", strings.Repeat("k", 256), strings.Repeat("v", 100_000)),
	}
	commit(t, s, sink.Progress{Log: "LOG", Block: 1}, block(1, all...))
	end(t, s)
	want(t, target, all...)
}

func testFenced(t *testing.T, target Target) {
	old := target.New(name)
	open(t, old)
	commit(t, old, sink.Progress{Log: "LOG", Run: "old", Block: 1}, block(1, record("a", "k", "1")))
	taken := target.New(name)
	if p := open(t, taken); p.Block != 1 {
		t.Errorf("progress is %+v, want block 1", p)
	}
	err := old.Commit(t.Context(), []sink.Block{block(2, record("a", "k", "of the old one"))}, sink.Progress{Log: "LOG", Run: "old", Block: 2})
	if !errors.Is(err, sink.ErrFenced) {
		t.Errorf("commit to a sink that was taken over: %v, want ErrFenced", err)
	}
	if _, err := old.Open(t.Context()); !errors.Is(err, sink.ErrFenced) {
		t.Errorf("open of a sink that was taken over: %v, want ErrFenced", err)
	}
	commit(t, taken, sink.Progress{Log: "LOG", Run: "new", Block: 2}, block(2, record("a", "k", "2")))
	end(t, old)
	end(t, taken)
	want(t, target, record("a", "k", "1"), record("a", "k", "2"))
}

func testNames(t *testing.T, target Target) {
	one, other := target.New(name), target.New(name+"-other")
	open(t, one)
	open(t, other)
	commit(t, one, sink.Progress{Log: "LOG", Block: 1}, block(1, record("a", "one", "1")))
	commit(t, other, sink.Progress{Log: "LOG", Block: 9}, block(9, record("a", "other", "9")))
	end(t, one)
	end(t, other)
	again := target.New(name)
	if p := open(t, again); p.Block != 1 {
		t.Errorf("progress is %+v, want block 1", p)
	}
	end(t, again)
	want(t, target, record("a", "one", "1"), record("a", "other", "9"))
}

func testOpenAgain(t *testing.T, target Target) {
	s := target.New(name)
	open(t, s)
	commit(t, s, sink.Progress{Log: "LOG", Block: 1}, block(1, record("a", "k", "1")))
	if p := open(t, s); p.Block != 1 {
		t.Errorf("progress is %+v, want block 1", p)
	}
	commit(t, s, sink.Progress{Log: "LOG", Block: 2}, block(2, record("a", "k", "2")))
	end(t, s)
	want(t, target, record("a", "k", "1"), record("a", "k", "2"))
}

func testBack(t *testing.T, target Target) {
	s := target.New(name)
	open(t, s)
	commit(t, s, sink.Progress{Log: "LOG", Block: 100}, block(100, record("a", "k", "1")))
	commit(t, s, sink.Progress{Log: "ANOTHER", Block: 3}, block(3, record("a", "k", "2")))
	if p := open(t, s); p.Block != 3 || p.Log != "ANOTHER" {
		t.Errorf("progress is %+v, want block 3 of ANOTHER", p)
	}
	end(t, s)
}

// testTimeOver gives commits no time. A commit that failed is whole or not there,
// and the next opening tells which; of a sink that delivers at least once its
// records may be there when that says no, so that it is committed again, as a
// Publisher does.
func testTimeOver(t *testing.T, target Target, agree func(t *testing.T, got, want []publish.Record)) {
	s := target.New(name)
	open(t, s)
	var all []publish.Record
	for n := range uint64(6) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
		records := []publish.Record{record("a", "k", fmt.Sprint(n)), record("b", "k", fmt.Sprint(n))}
		at := sink.Progress{Log: "LOG", Block: n + 1}
		err := s.Commit(ctx, []sink.Block{block(n+1, records...)}, at)
		cancel()
		if err != nil && open(t, s).Block != n+1 {
			commit(t, s, at, block(n+1, records...))
		}
		all = append(all, records...)
	}
	commit(t, s, sink.Progress{Log: "LOG", Block: 10}, block(10, record("a", "k", "last")))
	end(t, s)
	agree(t, target.Records(), append(all, record("a", "k", "last")))
}
