// Package s3test gives tests a real server that speaks S3.
//
// With MILLRACE_S3_ENDPOINT (http://HOST:PORT) it is that one, with the
// credentials of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which must be
// allowed to make buckets. Otherwise versitygw is started, which
// scripts/install-s3.sh installs: the path of the program is in
// MILLRACE_S3_SERVER, or it is in PATH. Without any of them tests are skipped, or
// fail if MILLRACE_S3=required.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// startPatience is how long a server may take until it answers.
const startPatience = 20 * time.Second

// Server is a running server.
type Server struct {
	Endpoint string // http://HOST:PORT
	client   *minio.Client
}

// Start finds or starts a server for the test, and sets the credentials of the
// environment to its.
func Start(t *testing.T) *Server {
	t.Helper()
	endpoint := os.Getenv("MILLRACE_S3_ENDPOINT")
	if endpoint == "" {
		t.Setenv("AWS_ACCESS_KEY_ID", "millrace-test")
		t.Setenv("AWS_SECRET_ACCESS_KEY", fmt.Sprintf("secret-%x", rand.Uint64()))
		endpoint = startVersity(t)
	}
	host, ok := strings.CutPrefix(endpoint, "http://")
	secure := !ok
	if secure {
		host = strings.TrimPrefix(endpoint, "https://")
	}
	client, err := minio.New(host, &minio.Options{Creds: credentials.NewEnvAWS(), Secure: secure, BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Endpoint: endpoint, client: client}
	s.await(t)
	return s
}

// startVersity starts versitygw on a free port, to be killed when the test ends.
func startVersity(t *testing.T) string {
	t.Helper()
	program := os.Getenv("MILLRACE_S3_SERVER")
	if program == "" {
		program, _ = exec.LookPath("versitygw")
	}
	if program == "" {
		if os.Getenv("MILLRACE_S3") == "required" {
			t.Fatal("MILLRACE_S3=required, but there is no server: run scripts/install-s3.sh and set MILLRACE_S3_SERVER, or set MILLRACE_S3_ENDPOINT")
		}
		t.Skip("no S3 server: make test-s3 installs one")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"buckets", "metadata"} { // beside them, as not every file system has attributes
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(program, "--quiet", "--port", address,
		"--access", os.Getenv("AWS_ACCESS_KEY_ID"), "--secret", os.Getenv("AWS_SECRET_ACCESS_KEY"),
		"posix", "--sidecar", filepath.Join(dir, "metadata"), filepath.Join(dir, "buckets"))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() && out.Len() > 0 {
			t.Logf("versitygw: %.2000s", out.String())
		}
	})
	return "http://" + address
}

// await returns once the server answers.
func (s *Server) await(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), startPatience)
	defer stop()
	for {
		_, err := s.client.ListBuckets(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the S3 server on %s does not answer: %v", s.Endpoint, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Bucket makes a bucket and returns the address of a folder in it, for
// s3.Open. It is removed when the test ends.
func (s *Server) Bucket(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("millrace-%x", rand.Uint64())
	if err := s.client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(name); err != nil {
			t.Logf("bucket %s is left: %v", name, err)
		}
	})
	return fmt.Sprintf("s3://%s/some/folder?endpoint=%s&path_style=true", name, s.Endpoint)
}

func (s *Server) remove(bucket string) error {
	ctx := context.Background() // the test's has ended
	var errs []error
	for o := range s.client.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
		errs = append(errs, o.Err, s.client.RemoveObject(ctx, bucket, o.Key, minio.RemoveObjectOptions{}))
	}
	return errors.Join(append(errs, s.client.RemoveBucket(ctx, bucket))...)
}
