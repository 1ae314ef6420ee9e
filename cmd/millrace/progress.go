package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"millrace/event"
	"millrace/internal/process"
	"millrace/source"
	"millrace/source/file"
)

// progress shows how far an import has got: a bar with rate and time left on
// a terminal, a line now and then elsewhere.
type progress struct {
	out     io.Writer
	bar     *progressbar.ProgressBar // nil if out is no terminal
	readers []source.Reader
	current int
	before  int64 // size of the inputs that are done
	began   time.Time
	shown   time.Time
	records int
}

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 5 * time.Second
)

func newProgress(out io.Writer, readers []source.Reader) *progress {
	p := &progress{out: out, readers: readers, began: time.Now(), shown: time.Now()}
	terminal, ok := out.(*os.File)
	if !ok || !isatty.IsTerminal(terminal.Fd()) {
		return p
	}
	total := int64(0)
	for _, r := range readers {
		if r.Total() == 0 {
			total = -1
			break
		}
		total += r.Total()
	}
	p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(out), progressbar.OptionSetPredictTime(true),
		progressbar.OptionFullWidth(), progressbar.OptionThrottle(barEvery), progressbar.OptionClearOnFinish())
	return p
}

// reading says which of the inputs is being read now.
func (p *progress) reading(i int) {
	if i > 0 {
		p.before += p.readers[i-1].Total()
	}
	p.current = i
}

// at is called with the number of records sent so far.
func (p *progress) at(records int) {
	p.records = records
	every := lineEvery
	if p.bar != nil {
		every = barEvery
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	rate := float64(records) / time.Since(p.began).Seconds()
	if p.bar == nil {
		fmt.Fprintf(p.out, "%d records, %.0f/s\n", records, rate)
		return
	}
	p.bar.Describe(fmt.Sprintf("%d records, %.0f/s", records, rate))
	_ = p.bar.Set64(p.before + p.readers[p.current].Done())
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// measure fills in what the run took.
func (r *replayResult) measure(elapsed time.Duration) {
	r.ElapsedS = elapsed.Seconds()
	cpu, rss := process.Usage()
	if r.Events > 0 {
		r.EventsPerS = float64(r.Events) / r.ElapsedS
		r.CPUSPerM = cpu.Seconds() / float64(r.Events) * 1e6
	}
	r.RSSPeakMB = rss
}

// shownOthers is how many of the columns that are not read are named.
const shownOthers = 8

// describeLayouts says how CSV files are understood, a line for the first of
// those that are understood alike: what was guessed wrong is seen before
// anything is imported.
func describeLayouts(out io.Writer) func(file.Layout) {
	said := map[string]bool{}
	return func(l file.Layout) {
		if text := layoutText(l); !said[text] {
			said[text] = true
			fmt.Fprintf(out, "%s: %s\n", l.Path, text)
		}
	}
}

// layoutText is how the rows of a file are understood, the columns as --map
// takes them.
func layoutText(l file.Layout) string {
	var columns []string
	for _, c := range l.Columns {
		columns = append(columns, c.Field+"="+c.Name)
	}
	text := l.Content + " with the columns " + strings.Join(columns, ",")
	if n := len(l.Others); n > shownOthers {
		text += fmt.Sprintf("; not read: %s and %d more", strings.Join(l.Others[:shownOthers], ", "), n-shownOthers)
	} else if n > 0 {
		text += "; not read: " + strings.Join(l.Others, ", ")
	}
	if l.DefaultType == "" {
		return text
	}
	if l.Has("type") {
		return text + fmt.Sprintf("; a row with an empty type is of type %s (--default-type changes that)", l.DefaultType)
	}
	text += fmt.Sprintf("; no type column: every row is of type %s", l.DefaultType)
	if l.Has("value") && l.DefaultType != event.TypeRating {
		text += ", whose value is kept but does not count"
	}
	return text + " (--default-type changes that)"
}
