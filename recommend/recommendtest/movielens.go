package recommendtest

import (
	"bufio"
	"compress/gzip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"millrace/event"
)

// MovieLens reads the first n ratings of MovieLens 1M from data/ml-1m beside
// the repository's folder "shared", in its order; it skips the test if the
// data is not there. folder is the path to the repository's root.
func MovieLens(tb testing.TB, root string, n int) []event.Enriched {
	tb.Helper()
	folder := filepath.Join(root, "..", "shared", "data", "ml-1m")
	items := map[string]*event.Item{}
	err := lines(filepath.Join(folder, "movies.dat"), func(f []string) {
		items[f[0]] = &event.Item{ID: f[0], Title: f[1], Categories: strings.Split(f[2], "|")}
	})
	if os.IsNotExist(err) {
		tb.Skip("no MovieLens 1M beside the repository")
	}
	users := map[string]*event.User{}
	if err == nil {
		err = lines(filepath.Join(folder, "users.dat"), func(f []string) {
			age, _ := strconv.Atoi(f[2])
			users[f[0]] = &event.User{ID: f[0], Age: age, Gender: strings.ToLower(f[1])}
		})
	}
	var list []event.Enriched
	if err == nil {
		err = lines(filepath.Join(folder, "ratings.dat.gz"), func(f []string) {
			if len(list) == n {
				return
			}
			value, _ := strconv.ParseFloat(f[2], 64)
			seconds, _ := strconv.ParseInt(f[3], 10, 64)
			e := event.Enriched{ItemInfo: items[f[1]], UserInfo: users[f[0]]}
			e.Event = event.Event{Time: event.Time(seconds) * event.Second, User: e.UserInfo.ID, Item: e.ItemInfo.ID,
				Type: event.TypeRating, Value: value, HasValue: true}
			list = append(list, e)
		})
	}
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

// lines calls fn for each line of a file, split at "::".
func lines(path string, fn func(fields []string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		scanner = bufio.NewScanner(z)
	}
	for scanner.Scan() {
		fn(strings.Split(scanner.Text(), "::"))
	}
	return scanner.Err()
}
