package filter_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"millrace/operator/internal/filter"
)

// What was added is always found, whatever the hashes.
func TestHasWhatWasAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f filter.Filter
		hashes := rapid.SliceOf(rapid.Uint64()).Draw(t, "hashes")
		for _, h := range hashes {
			f.Add(h)
		}
		for _, h := range hashes {
			if !f.Has(h) {
				t.Fatalf("%x is not found", h)
			}
		}
	})
}

// The filter grows with what is in it: over several generations it finds all,
// and little that was not added, in two bytes a key and a half.
func TestGrows(t *testing.T) {
	const keys = 100_000
	var f filter.Filter
	if f.Has(1) || f.Bytes() != 0 {
		t.Error("an empty filter has something")
	}
	random := rand.New(rand.NewPCG(1, 2))
	added := make([]uint64, keys)
	for i := range added {
		added[i] = random.Uint64()
		f.Add(added[i])
	}
	for _, h := range added {
		if !f.Has(h) {
			t.Fatalf("%x is not found", h)
		}
	}
	wrong := 0
	for range keys {
		if f.Has(random.Uint64()) {
			wrong++
		}
	}
	if wrong > keys*3/100 {
		t.Errorf("%d of %d that were not added are found", wrong, keys)
	}
	if f.Bytes() > 5*keys {
		t.Errorf("%d bytes for %d keys", f.Bytes(), keys)
	}
	t.Logf("%d of %d wrong, %d bytes", wrong, keys, f.Bytes())
}
