// Package byurl opens the object store that an address names.
package byurl

import (
	"fmt"
	"net/url"
	"strings"

	"millrace/objectstore"
	"millrace/objectstore/directory"
	"millrace/objectstore/s3"
)

// Open opens s3://BUCKET/PREFIX, file:///PATH, or a path. Nothing is looked up
// or made yet. The error is objectstore.ErrURL.
func Open(address string) (objectstore.Store, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case address == "":
		return nil, fmt.Errorf("%w: it is empty", objectstore.ErrURL)
	case !ok:
		return directory.Open(address)
	case scheme == "s3":
		return s3.Open(address)
	case scheme == "file":
		path, err := url.PathUnescape(rest)
		if err != nil || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%w: %s: want file:///PATH", objectstore.ErrURL, address)
		}
		return directory.Open(path)
	}
	return nil, fmt.Errorf("%w: %s: want s3://BUCKET/PREFIX, file:///PATH or a path", objectstore.ErrURL, redacted(address))
}

// redacted leaves out what may be a password.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address given"
	}
	return u.Redacted()
}
