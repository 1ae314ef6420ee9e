// Package s3 keeps objects in a bucket of a service that speaks Amazon's S3
// protocol.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"millrace/objectstore"
)

// The limits of time. There is none for a whole object, which may be large;
// but a connection over which nothing moves is given up.
const (
	dialTimeout   = 10 * time.Second
	stallTimeout  = 30 * time.Second // nothing is read or written
	answerTimeout = 60 * time.Second // from the last byte of a request to the first of its answer
)

// defaultEndpoint is Amazon's.
const defaultEndpoint = "https://s3.amazonaws.com"

// Store is an objectstore.Store in a bucket.
type Store struct {
	core    *minio.Core
	bucket  string
	prefix  string // empty, or with a slash at its end
	address string
}

// settings are what an address says.
type settings struct {
	bucket, prefix string
	endpoint       string // HOST:PORT
	secure         bool
	region         string
	lookup         minio.BucketLookupType
}

// Open uses a bucket, which must exist:
//
//	s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION&path_style=true
//
// Everything after the bucket may be left out: then it is Amazon's service,
// which is told the bucket as part of the host's name. An endpoint without
// http:// or https:// is spoken to over TLS. Credentials come from where
// Amazon's tools look for them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the
// file that AWS_SHARED_CREDENTIALS_FILE names (~/.aws/credentials), the role of
// the machine. Nothing is looked up yet. The error is objectstore.ErrURL.
func Open(address string) (*Store, error) {
	s, err := parse(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", objectstore.ErrURL, err)
	}
	transport, err := newTransport(s.secure)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", objectstore.ErrURL, err)
	}
	core, err := minio.NewCore(s.endpoint, &minio.Options{
		Creds:  credentials.NewChainCredentials(chain(transport)),
		Secure: s.secure, Transport: transport, Region: s.region, BucketLookup: s.lookup,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", objectstore.ErrURL, err)
	}
	return &Store{core: core, bucket: s.bucket, prefix: s.prefix, address: address}, nil
}

// chain is where credentials are looked for, in this order.
func chain(transport http.RoundTripper) []credentials.Provider {
	return []credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Transport: transport, Timeout: dialTimeout}},
	}
}

// parse reads an address. Its errors do not repeat what may be a password.
func parse(address string) (settings, error) {
	s := settings{secure: true}
	u, err := url.Parse(address)
	if err != nil {
		return s, errors.New("the address can not be read: want s3://BUCKET/PREFIX")
	}
	switch {
	case u.Scheme != "s3" || u.Host == "" || u.Port() != "" || u.Fragment != "":
		return s, fmt.Errorf("%s: want s3://BUCKET/PREFIX", u.Redacted())
	case u.User != nil:
		return s, fmt.Errorf("s3://%s: credentials do not belong into the address, but into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", u.Host)
	}
	s.bucket = u.Host
	if err := s3utils.CheckValidBucketName(s.bucket); err != nil {
		return s, fmt.Errorf("s3://%s: %w", s.bucket, err)
	}
	if s.prefix = strings.Trim(u.Path, "/"); s.prefix != "" {
		if err := objectstore.CheckKey(s.prefix); err != nil {
			return s, err
		}
		s.prefix += "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return s, fmt.Errorf("s3://%s: %w", u.Host, err)
	}
	for name, values := range query {
		if len(values) != 1 || !slices.Contains([]string{"endpoint", "region", "path_style"}, name) {
			return s, fmt.Errorf("s3://%s: %s: want endpoint, region and path_style, once each", u.Host, name)
		}
	}
	s.region = query.Get("region")
	if style := query.Get("path_style"); style != "" {
		byPath, err := strconv.ParseBool(style)
		if err != nil {
			return s, fmt.Errorf("s3://%s: path_style: want true or false, got %q", u.Host, style)
		}
		s.lookup = minio.BucketLookupDNS
		if byPath {
			s.lookup = minio.BucketLookupPath
		}
	}
	return s, s.setEndpoint(query.Get("endpoint"))
}

// setEndpoint reads HOST:PORT, with http:// or https:// before it or not.
func (s *settings) setEndpoint(endpoint string) error {
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return fmt.Errorf("s3://%s: endpoint: want https://HOST:PORT, or http://HOST:PORT without TLS", s.bucket)
	}
	s.endpoint, s.secure = u.Host, u.Scheme == "https"
	return nil
}

// newTransport is that of minio-go with our limits of time.
func newTransport(secure bool) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &impatient{c}, nil
	}
	t.ResponseHeaderTimeout = answerTimeout
	return t, nil
}

// impatient is a connection that fails once nothing has moved for a while.
type impatient struct{ net.Conn }

// Read implements net.Conn. The service may take its time to answer.
func (c *impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout + stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. The answer to what is being written is waited for
// all the time, so that limit moves too.
func (c *impatient) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		err = c.SetReadDeadline(time.Now().Add(answerTimeout + stallTimeout))
	}
	return n, err
}

// String is the address as it was given, which has no credentials.
func (s *Store) String() string { return s.address }

// Put implements objectstore.Store. Large objects go up in parts, which the
// service puts together at the end.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	body, done, err := seekable(r, size)
	if err == nil {
		defer done()
		_, err = s.core.Client.PutObject(ctx, s.bucket, s.prefix+key, body, size, minio.PutObjectOptions{
			ContentType: "application/octet-stream", SendContentMd5: true,
		})
	}
	if err != nil {
		return s.failed("put", key, err)
	}
	return nil
}

// seekable is a reader at its beginning, of which it is known that it has as
// many bytes as was said: the service stores what it has got as soon as that
// is so many. Other readers are copied to a file. Call done when it was read.
func seekable(r io.Reader, size int64) (body io.Reader, done func(), err error) {
	if seeker, ok := r.(io.ReadSeeker); ok {
		at, err := seeker.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, nil, err
		}
		if at == 0 { // minio-go goes by offsets from the beginning
			return seeker, func() {}, measure(seeker, size)
		}
	}
	f, err := os.CreateTemp("", "millrace-put-*")
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		_ = f.Close() // it was only read
		_ = os.Remove(f.Name())
	}
	_, err = io.Copy(f, &objectstore.ExactReader{R: r, Left: size})
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return f, done, nil
}

// measure returns objectstore.ErrSize unless the reader has so many bytes.
func measure(seeker io.Seeker, size int64) error {
	end, err := seeker.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if end != size {
		return fmt.Errorf("%w: %d, not %d", objectstore.ErrSize, end, size)
	}
	_, err = seeker.Seek(0, io.SeekStart)
	return err
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return nil, err
	}
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.failed("get", key, err)
	}
	return &object{body, s, key}, nil
}

// object is an object that is open.
type object struct {
	io.ReadCloser
	store *Store
	key   string
}

// Read implements io.Reader.
func (o *object) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = o.store.failed("get", o.key, err)
	}
	return n, err
}

// Stat implements objectstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objectstore.Object, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return objectstore.Object{}, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return objectstore.Object{}, s.failed("stat", key, err)
	}
	return objectstore.Object{Key: key, Size: info.Size, Modified: info.LastModified}, nil
}

// List implements objectstore.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]objectstore.Object, error) {
	if err := objectstore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var list []objectstore.Object
	for info := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if info.Err != nil {
			return nil, s.failed("list", prefix, info.Err)
		}
		key := strings.TrimPrefix(info.Key, s.prefix)
		if objectstore.CheckKey(key) == nil { // else it is somebody else's
			list = append(list, objectstore.Object{Key: key, Size: info.Size, Modified: info.LastModified})
		}
	}
	if err := ctx.Err(); err != nil { // the iteration just ends
		return nil, s.failed("list", prefix, err)
	}
	slices.SortFunc(list, func(a, b objectstore.Object) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

// Delete implements objectstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchKey {
		return s.failed("delete", key, err)
	}
	return nil
}

// failed says what failed with which object, as one of the errors of package
// objectstore.
func (s *Store) failed(doing, key string, err error) error {
	kind := objectstore.ErrUnavailable
	answer := minio.ToErrorResponse(err)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objectstore.ErrSize):
		return fmt.Errorf("%s %s: %w", doing, key, err)
	case answer.Code == minio.NoSuchBucket:
		err = fmt.Errorf("there is no bucket %s: %w", s.bucket, err)
	case answer.Code == minio.NoSuchKey:
		kind = objectstore.ErrNotFound
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		kind = objectstore.ErrDenied
	}
	return fmt.Errorf("%s %s: %w: %w", doing, key, kind, err)
}
