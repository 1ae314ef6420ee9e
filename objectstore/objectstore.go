// Package objectstore is where checkpoints and savepoints are kept outside the
// process: whole objects under keys, on a disk or in a bucket. An object is
// put in one piece and never changed; there is all of it or nothing.
package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// The errors of a Store, for errors.Is.
var (
	// ErrNotFound is the error of a key that no object has.
	ErrNotFound = errors.New("no such object")
	// ErrKey is the error of a text that can not be a key.
	ErrKey = errors.New("not a key of an object")
	// ErrSize is the error of Put when there were fewer or more bytes than was
	// said. Nothing is stored then.
	ErrSize = errors.New("not as many bytes as was said")
	// ErrDenied is the error of a store that knows who asks, or does not, and
	// refuses.
	ErrDenied = errors.New("the object store denies access")
	// ErrUnavailable is the error of a store that can not be reached, that is
	// full, or that has failed. Whether a Put took place is not known.
	ErrUnavailable = errors.New("the object store is unavailable")
	// ErrURL is the error of an address that names no store.
	ErrURL = errors.New("not the address of an object store")
)

// Object is what a store knows of an object.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time // when it was put, by the clock of the store
}

// Store keeps objects. Its methods may be called at the same time. What it
// tells is up to date: an object is listed as soon as Put has returned, and
// not any more once Delete has.
type Store interface {
	// Put stores size bytes of r under a key, in place of what was there. When
	// it returns nil the object is durable; after an error there is the new
	// object, the one before, or none, but never a part. A reader that is an
	// io.Seeker lets a store that is reached over a network try again.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Get opens an object, ErrNotFound if there is none. The caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// Stat says what is known of an object, ErrNotFound if there is none.
	Stat(ctx context.Context, key string) (Object, error)
	// List is all objects whose keys begin with prefix, in ascending order of
	// the keys' bytes. A prefix that is not empty ends with a slash.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// String is the address of the store, for people: without credentials.
	String() string
}

// maxKeyBytes bounds a key; S3 allows 1024 with the prefix.
const maxKeyBytes = 512

// CheckKey returns ErrKey unless a text is a key: parts with slashes between
// them, each of letters, digits and -_. and not beginning with a dot. A key is
// not the beginning of another one's path, as a file is no folder. It is for
// stores.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrKey, len(key), maxKeyBytes)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part[0] == '.' {
			return fmt.Errorf("%w: %q: a part is empty or begins with a dot", ErrKey, key)
		}
		for _, c := range []byte(part) {
			if !isKeyByte(c) {
				return fmt.Errorf("%w: %q: want letters, digits, - _ . and /", ErrKey, key)
			}
		}
	}
	return nil
}

func isKeyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// CheckPrefix returns ErrKey unless a text can be given to List. It is for
// stores.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	folder, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("%w: prefix %q: want a slash at its end", ErrKey, prefix)
	}
	return CheckKey(folder)
}

// ExactReader reads the bytes of a Put and returns ErrSize when there are not
// as many as was said. It is for stores.
type ExactReader struct {
	R    io.Reader
	Left int64 // how many bytes are to come
}

// Read returns io.EOF only after exactly as many bytes as were left.
func (e *ExactReader) Read(p []byte) (int, error) {
	if e.Left == 0 {
		return 0, e.end()
	}
	n, err := e.R.Read(p[:min(int64(len(p)), e.Left)])
	e.Left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if e.Left > 0 {
			err = fmt.Errorf("%w: %d are missing", ErrSize, e.Left)
		}
	}
	return n, err
}

// end says whether there is nothing after the last byte.
func (e *ExactReader) end() error {
	var more [1]byte
	for {
		n, err := e.R.Read(more[:])
		switch {
		case n > 0:
			return fmt.Errorf("%w: there are more", ErrSize)
		case err != nil:
			return err // io.EOF, or why it is not known
		}
	}
}
