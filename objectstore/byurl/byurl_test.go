package byurl

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"millrace/objectstore"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	spaced := filepath.Join(dir, "a b")
	for address, want := range map[string]string{
		dir: dir, "file://" + dir: dir, "file://" + strings.ReplaceAll(spaced, " ", "%20"): spaced,
		"s3://bucket/folder?region=x": "s3://bucket/folder?region=x",
	} {
		if s, err := Open(address); err != nil || s.String() != want {
			t.Errorf("%s: %v, %v; want %s", address, s, err, want)
		}
	}
	for _, address := range []string{"", "file://relative/path", "gs://bucket", "https://key:hidden@host/", "s3://"} {
		if _, err := Open(address); !errors.Is(err, objectstore.ErrURL) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v, want ErrURL without passwords", address, err)
		}
	}
}
