package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/objectstore"
	"millrace/objectstore/byurl"
)

// Below these a disk is said to be nearly full.
const (
	leastFree     = 512 << 20 // the log can't go on for long
	desirableFree = 5 << 30
)

// Directory checks the data directory.
func Directory(dir string) Check {
	return func(context.Context) []Finding {
		s := scribe{system: "data directory"}
		at, err := existing(dir)
		if err != nil {
			s.say(Failed, dir, "%v: choose another with data", err)
			return s.list
		}
		sync, err := tryFile(at)
		switch {
		case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrNotExist):
			s.say(Failed, dir, "this user may not write in %s: give it the right, or choose another directory with data", at)
			return s.list
		case errors.Is(err, syscall.ENOSPC):
			s.say(Failed, dir, "the disk of %s is full: make room; docs/operations.md says what can go", at)
			return s.list
		case err != nil:
			s.say(Failed, dir, "a file can not be written: %v", err)
			return s.list
		}
		usage, err := vfs.Default.GetDiskUsage(at)
		free := float64(usage.AvailBytes) / (1 << 30)
		switch {
		case err != nil:
			s.say(Warning, dir, "how much room there is can not be found out: %v", err)
		case usage.AvailBytes < leastFree:
			s.say(Failed, dir, "%.1f GiB are free, at least 0.5 are needed: make room; docs/operations.md says what can go", free)
		case usage.AvailBytes < desirableFree:
			s.say(Warning, dir, "only %.1f GiB are free", free)
		default:
			s.say(OK, dir, "can be written, a sync takes %v, %.1f GiB are free", sync.Round(10*time.Microsecond), free)
		}
		return s.list
	}
}

// existing is the directory itself, or the one above it in which it would be made.
func existing(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return "", &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
		case err == nil || !errors.Is(err, fs.ErrNotExist):
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}

// tryFile writes and removes a file, and says how long its sync took.
func tryFile(dir string) (sync time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".millrace-doctor-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return 0, err
	}
	begun := time.Now()
	err = f.Sync()
	return time.Since(begun), err
}

// Listen checks the address that the server will listen on.
func Listen(address string) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "listen"}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		var name *net.DNSError
		switch {
		case err == nil:
			_ = l.Close()
			s.say(OK, address, "is free")
		case errors.Is(err, syscall.EADDRINUSE):
			s.taken(ctx, address)
		case errors.Is(err, syscall.EACCES):
			s.say(Failed, address, "this user may not listen on that port: choose one from 1024 on")
		case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.As(err, &name):
			s.say(Failed, address, "this machine has no such address: use one of its own, 127.0.0.1, or 0.0.0.0 for all")
		default:
			s.say(Failed, address, "%v", err)
		}
		return s.list
	}
}

// taken says who listens on an address already.
func (s *scribe) taken(ctx context.Context, address string) {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	var health struct {
		Status string `json:"status"`
		Reason string `json:"reason"`
	}
	response, err := get(ctx, "http://"+net.JoinHostPort(host, port)+"/v1/health")
	if err == nil {
		defer response.Body.Close()
		err = json.NewDecoder(response.Body).Decode(&health)
	}
	switch {
	case err != nil || health.Status == "": // whatever the code: it is 503 while it starts
		s.say(Failed, address, "another program listens there: stop it, or choose another port with listen")
	case health.Status != "ok":
		s.say(Warning, address, "a Millrace server runs there, and says that it is %s: %s", health.Status, health.Reason)
	default:
		s.say(OK, address, "a Millrace server runs there, and is well")
	}
}

// get asks for a page.
func get(ctx context.Context, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}

// ObjectStore checks where savepoints and copies of checkpoints are kept: it
// writes, reads and deletes a small object of its own.
func ObjectStore(address string) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "object store"}
		store, err := byurl.Open(address)
		if err != nil {
			s.say(Failed, address, "%v", err)
			return s.list
		}
		begun := time.Now()
		switch err := tryStore(ctx, store); {
		case err == nil:
			s.say(OK, store.String(), "an object can be written, read and deleted, in %v together", time.Since(begun).Round(time.Millisecond))
		case strings.Contains(err.Error(), "RequestTimeTooSkewed"):
			s.say(Failed, store.String(), "it refuses requests because its clock and this machine's differ too much: have both set by NTP")
		case errors.Is(err, objectstore.ErrDenied):
			s.say(Failed, store.String(), "it denies access: see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the rights to put, get, list and delete objects there (%v)", err)
		case errors.Is(err, context.DeadlineExceeded):
			s.say(Failed, store.String(), "it does not answer in time: a firewall, or a wrong endpoint in checkpoint_store (%v)", err)
		case errors.Is(err, objectstore.ErrUnavailable):
			s.say(Failed, store.String(), "it does not answer: see the endpoint in checkpoint_store (%v)", err)
		default:
			s.say(Failed, store.String(), "%v", err)
		}
		return s.list
	}
}

func tryStore(ctx context.Context, store objectstore.Store) (err error) {
	key, content := "doctor/"+rand.Text(), []byte("millrace doctor")
	if err := store.Put(ctx, key, bytes.NewReader(content), int64(len(content))); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Delete(ctx, key)) }()
	if _, err := store.List(ctx, "doctor/"); err != nil {
		return err
	}
	r, err := store.Get(ctx, key)
	if err != nil {
		return err
	}
	return r.Close()
}
