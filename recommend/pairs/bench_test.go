package pairs

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/event"
	"millrace/operator"
)

// filled are rows of about 400 partners, of which 60 count in the open pane.
func filled(rows int) (*Book, []Row, func(row, pairs int, at event.Time)) {
	b, sender := NewBook(Defaults()), NewNames()
	random := rand.New(rand.NewPCG(1, 2))
	var c operator.Context
	list := make([]Row, rows)
	count := func(row, pairs int, at event.Time) {
		terms := make([]Pair, pairs)
		for i := range terms {
			n := int(random.ExpFloat64() * 250)
			terms[i] = Pair{fmt.Sprint("i", n%4000), weight(1 + random.IntN(10))}
		}
		c.Begin(operator.Meta{Time: at, Watermark: at - 1})
		in := NewContribution(sender, "a", event.WindowStart(at, b.options.slice()), terms...)
		b.Count(&c, &list[row], &in)
	}
	for i := range list {
		for day := range event.Time(12) {
			count(i, 80, day*event.Day)
			closeAll(b, list[i:i+1])
		}
		b.Partners(&list[i])
	}
	return b, list, count
}

// closeAll closes the open panes of rows.
func closeAll(b *Book, list []Row) {
	var c operator.Context
	for i := range list {
		for r := &list[i]; len(r.panes) > 0; {
			at := r.panes[0].end
			c.Begin(operator.Meta{Time: at, Watermark: at - 1})
			b.Close(&c, r, at)
		}
	}
}

// What the first answer of a pane, an answer after one more pair, and the end
// of the pane cost, of a row that is in the cache
// (1 row) and of one that is not (4,000).
func BenchmarkRow(b *testing.B) {
	for _, rows := range []int{1, 4000} {
		for _, pairs := range []int{1, 60} {
			book, list, count := filled(rows)
			day := event.Time(12)
			var answer, again, end time.Duration
			b.Run(fmt.Sprintf("rows=%d/pairs=%d", rows, pairs), func(b *testing.B) {
				n := 0
				for n < b.N {
					for row := range list {
						count(row, pairs, day*event.Day)
					}
					start := time.Now()
					for row := range list {
						book.Partners(&list[row])
					}
					answer += time.Since(start)
					for row := range list {
						count(row, 1, day*event.Day)
					}
					start = time.Now()
					for row := range list {
						book.Partners(&list[row])
					}
					again += time.Since(start)
					start = time.Now()
					closeAll(book, list)
					end += time.Since(start)
					day++
					n += len(list)
				}
				b.ReportMetric(float64(answer.Nanoseconds())/float64(n), "answer-ns")
				b.ReportMetric(float64(again.Nanoseconds())/float64(n), "again-ns")
				b.ReportMetric(float64(end.Nanoseconds())/float64(n), "close-ns")
				answer, again, end = 0, 0, 0
			})
		}
	}
}
