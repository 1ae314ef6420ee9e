package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Finding is one thing about a Redis that somebody should know.
type Finding struct {
	// Grave says that views can not be kept there like this.
	Grave bool
	// Text says what is wrong, and what to do.
	Text string
}

// Diagnose connects to a Redis and says what is wrong with it, in words for
// people who run it. None means that all is well.
func Diagnose(ctx context.Context, c Config) []Finding {
	if err := c.Validate(); err != nil {
		return []Finding{{true, err.Error()}}
	}
	client, err := NewClient(c, nil)
	if err != nil {
		return []Finding{{true, err.Error()}}
	}
	defer func() { _ = client.Close() }()
	if err := client.redis.Ping(ctx).Err(); err != nil {
		return []Finding{{true, client.connectionFault(ctx, err)}}
	}
	d := diagnosis{client: client}
	var mutex sync.Mutex
	err = client.eachMaster(ctx, func(ctx context.Context, node redis.Cmdable) error {
		mutex.Lock()
		defer mutex.Unlock()
		return d.node(ctx, node)
	})
	if err != nil {
		d.add(true, "a node does not say how it is (%v): see that all nodes of the cluster can be reached from here", err)
	}
	if len(d.list) == 0 || !d.grave() {
		d.write(ctx)
		d.owner(ctx)
	}
	return d.list
}

// connectionFault says why there is no connection.
func (c *Client) connectionFault(ctx context.Context, err error) string {
	where, text := strings.Join(c.config.Addresses, ", "), err.Error()
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("redis.addresses: the name %s is not known to DNS: check how it is written", dns.Name)
	case strings.Contains(text, "connection refused"):
		return fmt.Sprintf("nobody listens on %s: start Redis, or set redis.addresses to where it is", where)
	case strings.Contains(text, "WRONGPASS"):
		return "Redis refuses the user or the password: check redis.username and redis.password"
	case strings.Contains(text, "NOAUTH"):
		return "Redis wants a password: set redis.password"
	case redis.IsPermissionError(err):
		return "the user may not use Redis (" + text + "): give it the commands that docs/redis.md lists"
	case strings.Contains(text, "cluster support disabled"):
		return fmt.Sprintf("%s is a single node and no cluster: set redis.cluster to false", where)
	case strings.Contains(text, "unknown authority") || strings.Contains(text, "certificate"):
		return "the server's certificate is not trusted (" + text + "): set redis.tls.ca to the authority's, or redis.tls.server_name to the name in it"
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return fmt.Sprintf("%s does not speak TLS, and redis.tls.enabled is true: set it to false, or use Redis's tls-port", where)
	case c.config.TLS.Enabled && strings.Contains(text, "EOF"):
		return fmt.Sprintf("%s ends the TLS handshake: it may want a client's certificate (redis.tls.cert and key), or be no TLS port", where)
	case redis.IsLoadingError(err):
		return "Redis is loading its data: it goes on by itself"
	case redis.IsClusterDownError(err):
		return "the cluster is down: some of its slots are served by nobody; see CLUSTER INFO"
	case strings.Contains(text, "can't parse") || strings.Contains(text, "invalid reply") || strings.Contains(text, "HTTP/"):
		return fmt.Sprintf("what listens on %s is no Redis: check the port in redis.addresses", where)
	case strings.Contains(text, "EOF") || strings.Contains(text, "reset by peer"):
		return fmt.Sprintf("%s ends the connection: it is no Redis, or wants TLS (redis.tls.enabled)", where)
	case c.config.TLS.Enabled && Cause(err) == "redis does not answer in time":
		return fmt.Sprintf("%s does not answer the TLS handshake: is it a TLS port, and does it hang?", where)
	case ctx.Err() != nil || Cause(err) == "redis does not answer in time":
		return fmt.Sprintf("%s does not answer in time: a firewall, a server that hangs, or a port of something else", where)
	}
	return fmt.Sprintf("no connection to %s: %v", where, err)
}

// diagnosis collects findings. Nodes are looked at one by one.
type diagnosis struct {
	client *Client
	list   []Finding
}

func (d *diagnosis) add(grave bool, format string, args ...any) {
	d.list = append(d.list, Finding{grave, fmt.Sprintf(format, args...)})
}

func (d *diagnosis) grave() bool {
	for _, f := range d.list {
		if f.Grave {
			return true
		}
	}
	return false
}

// leastVersion is the first release of Redis whose scripts may ask for the
// time and write after it.
const leastVersion = 5

// node looks at one node that takes writes.
func (d *diagnosis) node(ctx context.Context, node redis.Cmdable) error {
	info, err := node.Info(ctx).Result()
	if err != nil {
		return err
	}
	version := infoField(info, "redis_version")
	if major, err := strconv.Atoi(strings.SplitN(version, ".", 2)[0]); err == nil && major < leastVersion {
		d.add(true, "Redis is %s: at least %d is needed", version, leastVersion)
	}
	if mode := infoField(info, "redis_mode"); mode == "cluster" && !d.client.config.Cluster {
		d.add(true, "Redis is a node of a cluster, and redis.cluster is false: set it to true")
	} else if mode == "sentinel" {
		d.add(true, "this is a sentinel, which keeps no data: set redis.addresses to the master")
	}
	if infoField(info, "role") == "slave" {
		d.add(true, "Redis is a replica of %s, which takes no writes: set redis.addresses to its master", infoField(info, "master_host"))
	}
	if infoField(info, "loading") == "1" {
		d.add(false, "Redis is loading its data: it goes on by itself")
	}
	d.memory(info)
	if infoField(info, "rdb_last_bgsave_status") == "err" || infoField(info, "aof_last_write_status") == "err" {
		d.add(false, "Redis can not write its data to disk: see its log; it may refuse writes because of that (stop-writes-on-bgsave-error)")
	}
	return nil
}

// nearlyFull is the share of maxmemory from which on it is said.
const nearlyFull = 0.9

func (d *diagnosis) memory(info string) {
	used, _ := strconv.ParseFloat(infoField(info, "used_memory"), 64)
	most, _ := strconv.ParseFloat(infoField(info, "maxmemory"), 64)
	policy := infoField(info, "maxmemory_policy")
	if most > 0 && policy != "noeviction" {
		d.add(false, "maxmemory-policy is %s: Redis drops answers when its memory is full, and nobody notices before the next refresh; set it to noeviction", policy)
	}
	if most > 0 && used > nearlyFull*most {
		d.add(policy == "noeviction" && used >= most, "Redis uses %.0f MB of maxmemory %.0f MB: give it more, or a shorter redis.ttl", used/1e6, most/1e6)
	}
	if n := infoField(info, "evicted_keys"); n != "0" && n != "" {
		d.add(false, "Redis has evicted %s keys since its start for want of memory: some of them may have been answers", n)
	}
}

// write tries what an engine does, under a key of its own.
func (d *diagnosis) write(ctx context.Context) {
	c := d.client
	if err := c.loadScripts(ctx); err != nil {
		d.add(true, "scripts can not be loaded (%v): the user needs SCRIPT and EVALSHA", err)
		return
	}
	key := c.prefix + ":diagnose"
	value := appendHeader(nil, Order{1, 1}, flagDeleted)
	switch err := writeScript.EvalSha(ctx, c.redis, []string{key}, value, 1000).Err(); {
	case err == nil:
	case redis.IsOOMError(err):
		d.add(true, "Redis has no memory left and refuses writes: raise maxmemory")
	case redis.IsReadOnlyError(err):
		d.add(true, "Redis takes no writes: it is a replica; set redis.addresses to its master")
	case redis.IsPermissionError(err):
		d.add(true, "the user may not write keys that begin with %s: (%v)", c.prefix, err)
	default:
		d.add(true, "a write is refused: %v", err)
	}
}

// owner looks at what is there under the prefix.
func (d *diagnosis) owner(ctx context.Context) {
	if _, _, err := d.client.State(ctx); errors.Is(err, ErrCorrupt) || err != nil && isOtherType(err) {
		d.add(true, "what is under the prefix %s was not written by this release: choose another redis.prefix, or delete it", d.client.prefix)
	}
}
