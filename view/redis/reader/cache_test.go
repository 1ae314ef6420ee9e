package reader

import (
	"fmt"
	"testing"
	"time"

	"millrace/view"
	"millrace/view/viewtest"
)

// TestCache: what was read is given again until its time is over, also that
// there was nothing, and no more is kept than allowed.
func TestCache(t *testing.T) {
	const life = 50 * time.Millisecond
	c := newCache(life, 1600)
	there, nothing := view.Key{View: "v", Key: "a"}, view.Key{View: "v", Key: "b"}
	if _, ok := c.get(there); ok {
		t.Error("an empty cache has something")
	}
	put := time.Now()
	c.put(there, viewtest.Number(1))
	c.put(nothing, nil)
	v, ok := c.get(there)
	_, known := c.get(nothing)
	if fresh := time.Since(put) < life; fresh && (!ok || v != viewtest.Number(1) || !known) {
		t.Errorf("%v, %t, %t", v, ok, known)
	}
	time.Sleep(life + time.Millisecond)
	if _, ok := c.get(there); ok {
		t.Error("an answer is given after its time")
	}
	for i := range 20_000 {
		c.put(view.Key{View: "v", Key: fmt.Sprint(i)}, viewtest.Number(i))
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].young) + len(c.shards[i].elder)
	}
	if n > 3200 {
		t.Errorf("%d entries are kept, at most 3200 are to be", n)
	}
	off := newCache(0, 10)
	off.put(there, viewtest.Number(1))
	if _, ok := off.get(there); ok {
		t.Error("a cache that is off has something")
	}
}
