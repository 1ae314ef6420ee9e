package file

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// manyRatings is what ratings.dat looks like, in one of its two forms.
func manyRatings(rows int, format string) string {
	var b strings.Builder
	for n := range rows {
		user, movie := n/165, n*2654435761%3900
		fmt.Fprintf(&b, format, user+1, movie+1, n%5+1, 978300760+n)
	}
	return b.String()
}

// BenchmarkRows reads rows in each form: what a row costs from compressed
// bytes to a validated event.
func BenchmarkRows(b *testing.B) {
	const rows = 200_000
	dat := manyRatings(rows, "%d::%d::%d::%d\n")
	for _, c := range []struct{ name, file, text string }{
		{"ratings.dat", "ratings.dat", dat},
		{"ratings.dat.gz", "ratings.dat.gz", compressed(b, "gzip", dat)},
		{"ratings.dat.zst", "ratings.dat.zst", compressed(b, "zstd", dat)},
		{"ratings.csv", "ratings.csv", "userId,movieId,rating,timestamp\n" + manyRatings(rows, "%d,%d,%d.0,%d\n")},
		{"quoted.csv", "quoted.csv", "user,item,value,ts\n" + manyRatings(rows, "\"%d\",\"%d\",\"%d\",\"%d\"\n")},
		{"events.jsonl", "events.jsonl", manyRatings(rows, `{"user_id":"%d","item_id":"%d","event_type":"rating","value":%d,"timestamp":%d}`+"\n")},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := writeTemp(b, c.file, c.text)
			b.ReportAllocs()
			read := 0
			for b.Loop() {
				r := openOne(b, path, Options{})
				for {
					record, err := r.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil || record.Event == nil {
						b.Fatal(err, show(record))
					}
					read++
				}
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
