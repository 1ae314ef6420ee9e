package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fileOf is a new file of that name and content.
func fileOf(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// says runs a command line and returns what it printed to standard error, as
// main does with the error that it ends with.
func says(t *testing.T, args ...string) (stderr string, err error) {
	t.Helper()
	c := newCommand()
	var out bytes.Buffer
	c.SetOut(&bytes.Buffer{})
	c.SetErr(&out)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return out.String(), err
}

// What an import takes for granted is said before it begins.
func TestReplaySaysHowItReadsCSV(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"clicks.csv", "visitor_id,itemid,timestamp,w,colour\n1,2,1700000000,3,red\n",
			"events with the columns user=visitor_id,item=itemid,time=timestamp,value=w; not read: colour; " +
				"no type column: every row is of type view, whose value is kept but does not count (--default-type changes that)"},
		{"ratings.csv", "userId,movieId,rating,timestamp\n1,2,4.5,1700000000\n",
			"events with the columns user=userId,item=movieId,time=timestamp,value=rating; " +
				"no type column: every row is of type rating (--default-type changes that)"},
		{"shop.csv", "user,item,time,event\n1,2,1700000000,cart\n",
			"events with the columns user=user,item=item,time=time,type=event; a row with an empty type is of type view (--default-type changes that)"},
		{"wide.csv", "item,title,a,b,c,d,e,f,g,h,i,j\n1,Tent,,,,,,,,,,\n",
			"items with the columns item=item,title=title; not read: a, b, c, d, e, f, g, h and 2 more"},
	} {
		path := fileOf(t, c.name, c.content)
		out, err := says(t, "replay", path, "--data", t.TempDir())
		if err != nil || !strings.HasPrefix(out, path+": "+c.want+"\n") || strings.Count(out, " with the columns ") != 1 {
			t.Errorf("%v, and it says\n%s\nwant\n%s", err, out, c.want)
		}
	}
}

// One line speaks for all the files of a folder that are understood alike.
func TestReplaySaysOnceHowItReadsFilesThatAreAlike(t *testing.T) {
	path := fileOf(t, "a.csv", "user,item,time\n1,2,1700000000\n")
	for name, content := range map[string]string{"b.csv": "user,item,time\n1,3,1700000000\n", "c.csv": "uid,item,time\n1,3,1700000000\n"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := says(t, "replay", filepath.Dir(path), "--data", t.TempDir())
	if n := strings.Count(out, " with the columns "); err != nil || n != 2 {
		t.Errorf("%d lines (%v), want 2:\n%s", n, err, out)
	}
}
