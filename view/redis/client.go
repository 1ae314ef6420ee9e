// Package redis keeps views in Redis, a single node or a Redis Cluster, from
// where any number of processes read them. The README says what it promises.
//
// A Client writes and reads; a Lease is the right to write under a prefix, and
// tells readers how far the writer has come; a Reader makes snapshots for a
// front. Package mirror keeps a copy of an engine's views here.
package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"millrace/view"
)

// ErrUnreachable is the error of a Redis that does not answer, or not with what
// was asked for.
var ErrUnreachable = errors.New("redis does not answer")

// Client is the connections to one Redis.
type Client struct {
	config   Config
	prefix   string
	redis    redis.UniversalClient
	decoders view.Decoders
}

// quiet keeps the library from writing to standard error: its errors are
// returned too.
var quiet sync.Once

// NewClient makes a client; it does not connect yet. The decoders are of the
// views that it reads. The error is ErrConfig.
func NewClient(c Config, decoders view.Decoders) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	encrypted, err := c.TLS.load()
	if err != nil {
		return nil, err
	}
	quiet.Do(logging.Disable)
	return &Client{config: c, prefix: c.Prefix, decoders: decoders, redis: redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: c.Addresses, IsClusterMode: c.Cluster, DB: c.DB, Username: c.Username, Password: c.Password, TLSConfig: encrypted,
		ClientName: "millrace", PoolSize: c.PoolSize, DialTimeout: c.DialTimeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout,
		PoolTimeout: c.Timeout, ContextTimeoutEnabled: true, MaxRetries: 1, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}, nil
}

// Config is what the client was made with.
func (c *Client) Config() Config { return c.config }

// Views are the names of the views that the client can read.
func (c *Client) Views() []string { return c.decoders.Names() }

// Close ends the connections.
func (c *Client) Close() error {
	if err := c.redis.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// loadScripts makes sure that every node knows the scripts.
func (c *Client) loadScripts(ctx context.Context) error {
	for _, s := range scripts {
		if err := s.Load(ctx, c.redis).Err(); err != nil {
			return unreachable(err)
		}
	}
	return nil
}

// eachMaster calls fn for every node that takes writes, perhaps of several at
// once.
func (c *Client) eachMaster(ctx context.Context, fn func(ctx context.Context, node redis.Cmdable) error) error {
	if cluster, ok := c.redis.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return fn(ctx, node) })
	}
	return fn(ctx, c.redis)
}

// runs are the ids of the processes that take writes; another process has
// perhaps not what the one before had.
func (c *Client) runs(ctx context.Context) (map[string]bool, error) {
	var mutex sync.Mutex
	ids := map[string]bool{}
	err := c.eachMaster(ctx, func(ctx context.Context, node redis.Cmdable) error {
		text, err := node.Info(ctx, "server").Result()
		if err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		ids[infoField(text, "run_id")] = true
		return nil
	})
	return ids, unreachable(err)
}

// checkRuns is an ErrLost if a process takes writes that is not one of those that
// were known to.
func (c *Client) checkRuns(ctx context.Context, known map[string]bool) error {
	runs, err := c.runs(ctx)
	if err != nil {
		return err
	}
	for id := range runs {
		if !known[id] {
			return fmt.Errorf("%w: it was started again, or another node has taken its place", ErrLost)
		}
	}
	return nil
}

// infoField is a field of what INFO answers.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// unreachable marks an error of the connection or of the server.
func unreachable(err error) error {
	if err == nil || errors.Is(err, ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// Cause is what is wrong, in words without addresses and names: clients of a
// server may read it.
func Cause(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrFenced):
		return "another engine writes under the same prefix"
	case strings.Contains(text, "connection refused"):
		return "redis refuses connections"
	case errors.As(err, &dns):
		return "redis's host name is not known"
	case redis.IsAuthError(err) || redis.IsPermissionError(err):
		return "redis refuses the user or the password"
	case redis.IsOOMError(err):
		return "redis has no memory left"
	case redis.IsReadOnlyError(err):
		return "redis is a replica, which takes no writes"
	case redis.IsLoadingError(err):
		return "redis is loading its data"
	case redis.IsClusterDownError(err):
		return "a part of the redis cluster is down"
	case isOtherType(err):
		return "redis has keys of another program under the prefix"
	case strings.Contains(text, "MISCONF"):
		return "redis can not write its data to disk, and refuses writes"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &timeout) && timeout.Timeout():
		return "redis does not answer in time"
	case errors.Is(err, io.EOF):
		return "redis has closed the connection"
	case errors.Is(err, ErrCorrupt):
		return "what is in redis can not be read by this release"
	}
	return "redis does not work at present"
}
