package savepoint

import (
	"testing"

	"millrace/objectstore/byurl"
	"millrace/objectstore/s3/s3test"
)

// On a real S3 server and on a disk it is the same.
func TestStoresS3AndDirectory(t *testing.T) {
	run := func(t *testing.T, address string) {
		objects, err := byurl.Open(address)
		if err != nil {
			t.Fatal(err)
		}
		s := New(objects)
		create(t, s, Savepoint, "a", 1, "1.sst=one", "2.sst=two", "empty=")
		create(t, s, Checkpoint, "b", 2, "2.sst=two", "3.sst=three")
		wantFetched(t, s, "a", "1.sst=one 2.sst=two empty=")
		if removed, err := s.Retain(t.Context(), 0); err != nil || len(removed) != 1 {
			t.Errorf("retain: %v, %v", removed, err)
		}
		if n := stored(t, objects, sharedFolder); n != 2 {
			t.Errorf("%d files, want 2", n)
		}
		wantFetched(t, s, "a", "1.sst=one 2.sst=two empty=")
		if err := s.Dispose(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if list, err := objects.List(t.Context(), ""); err != nil || len(list) > 0 {
			t.Errorf("left: %+v, %v", list, err)
		}
	}
	t.Run("directory", func(t *testing.T) { run(t, t.TempDir()) })
	t.Run("s3", func(t *testing.T) { run(t, s3test.Start(t).Bucket(t)) })
}
