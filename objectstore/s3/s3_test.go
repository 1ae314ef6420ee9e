package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"millrace/objectstore"
	"millrace/objectstore/objectstoretest"
	"millrace/objectstore/s3/s3test"
)

func open(t *testing.T, address string) *Store {
	t.Helper()
	s, err := Open(address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := s3test.Start(t)
	objectstoretest.Run(t, func(t *testing.T) objectstore.Store { return open(t, server.Bucket(t)) })
}

// Two folders of one bucket do not see each other, and a bucket that does not
// exist is no object that does not exist.
func TestFoldersAndBuckets(t *testing.T) {
	server := s3test.Start(t)
	address := server.Bucket(t)
	one, two := open(t, address), open(t, strings.Replace(address, "/folder?", "/folder2?", 1))
	whole := open(t, strings.Replace(address, "/some/folder?", "?", 1))
	for _, s := range []*Store{one, two} {
		if err := s.Put(t.Context(), "a/b", strings.NewReader(s.prefix), int64(len(s.prefix))); err != nil {
			t.Fatal(err)
		}
	}
	for s, want := range map[*Store]string{one: "a/b", two: "a/b", whole: "some/folder/a/b some/folder2/a/b"} {
		var got []string
		list, err := s.List(t.Context(), "")
		for _, o := range list {
			got = append(got, o.Key)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v; want %s", s, got, err, want)
		}
	}
	none := open(t, "s3://there-is-none?endpoint="+server.Endpoint+"&path_style=true")
	_, get := none.Get(t.Context(), "a")
	_, list := none.List(t.Context(), "")
	for doing, err := range map[string]error{"put": none.Put(t.Context(), "a", strings.NewReader("x"), 1), "get": get, "list": list} {
		if errors.Is(err, objectstore.ErrNotFound) || !errors.Is(err, objectstore.ErrUnavailable) || !strings.Contains(err.Error(), "no bucket there-is-none") {
			t.Errorf("%s: %v, want ErrUnavailable with the bucket's name", doing, err)
		}
	}
}

func TestDenied(t *testing.T) {
	server := s3test.Start(t)
	address := server.Bucket(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "another one")
	s := open(t, address)
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("get: %v, want ErrDenied", err)
	}
	if err := s.Put(t.Context(), "a", strings.NewReader("x"), 1); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("put: %v, want ErrDenied", err)
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]settings{
		"s3://bkt":                                 {bucket: "bkt", endpoint: "s3.amazonaws.com", secure: true},
		"s3://bkt/p/q/?region=eu-west-1":           {bucket: "bkt", prefix: "p/q/", endpoint: "s3.amazonaws.com", secure: true, region: "eu-west-1"},
		"s3://bkt/p?endpoint=h:9000":               {bucket: "bkt", prefix: "p/", endpoint: "h:9000", secure: true},
		"s3://bkt?endpoint=https://h/":             {bucket: "bkt", endpoint: "h", secure: true},
		"s3://bkt?endpoint=http://h&path_style=1":  {bucket: "bkt", endpoint: "h", lookup: minio.BucketLookupPath},
		"s3://bkt?endpoint=h:1&path_style=false":   {bucket: "bkt", endpoint: "h:1", secure: true, lookup: minio.BucketLookupDNS},
		"s3://bkt?endpoint=http%3A%2F%2F127.0.0.1": {bucket: "bkt", endpoint: "127.0.0.1"},
	} {
		if got, err := parse(address); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", address, got, err, want)
		}
	}
	for _, address := range []string{
		"s3://", "s3:///p", "http://b", "s3://b/p", "s3://bkt:1/p", "s3://bkt/../p", "s3://bkt/p q", "s3://bkt?regoin=x", "s3://bkt?region=x&region=y",
		"s3://bkt?path_style=perhaps", "s3://bkt?endpoint=ftp://h", "s3://bkt?endpoint=https://h/path", "s3://bkt#x", "s3://bkt?%zz",
	} {
		if _, err := Open(address); !errors.Is(err, objectstore.ErrURL) {
			t.Errorf("%s: %v, want ErrURL", address, err)
		}
	}
	for _, address := range []string{"s3://key:hidden@b/p", "s3://bkt?endpoint=https://key:hidden@h"} {
		if _, err := Open(address); !errors.Is(err, objectstore.ErrURL) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want ErrURL without the password", address, err)
		}
	}
}

// An answer that breaks off is an error, and not a short object.
func TestBrokenOff(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		_, _ = w.Write(bytes.Repeat([]byte("x"), 500))
	}))
	defer server.Close()
	s := open(t, "s3://bucket?region=x&path_style=true&endpoint="+server.URL)
	r, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); !errors.Is(err, objectstore.ErrUnavailable) {
		t.Errorf("%d bytes, %v; want ErrUnavailable", len(data), err)
	}
}

// A service that can not be reached is unavailable, and a context's end ends
// the tries.
func TestUnreachable(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := open(t, "s3://bucket?region=x&path_style=true&endpoint=http://"+address)
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	_, err = s.Get(ctx, "a")
	if !errors.Is(err, objectstore.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("%v, want ErrUnavailable or the context's end", err)
	}
}
