// Package counter takes reactions to counters in Redis: the hash
// news_detail:<content_id> has a field for each kind.
//
// Beside the counts a hash has the ordinal of the last reaction that is in them,
// and both change in one step. So a reaction that comes again is known, whoever
// sends it, and one that is missing is noticed: the hash was lost, and is counted
// again from the table.
package counter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/outbox"
)

// DefaultPrefix begins the key of a content's hash.
const DefaultPrefix = "news_detail:"

// Options are what a Counters is made of.
type Options struct {
	// Connect makes the client, of one server or of a cluster.
	Connect func() (redis.UniversalClient, error)
	// Store has the entries that are counted again.
	Store *outbox.Store
	// Prefix begins the key of a content's hash, "" for DefaultPrefix.
	Prefix string
	Logger *slog.Logger // takes what an operator of the service should know; nil drops it
}

// Counters is an outbox.Target.
type Counters struct {
	o      Options
	client redis.UniversalClient // nil unless it is open
	warned time.Time             // when a key that can not be counted in was logged last
}

// New makes Counters; Open connects them.
func New(o Options) *Counters {
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Counters{o: o}
}

// Name implements outbox.Target.
func (c *Counters) Name() string { return "redis" }

// field is the field of a hash that has the ordinal. Its name has that of the
// tables: another database begins to count by itself.
func (c *Counters) field() string { return "_millrace:" + c.o.Store.Identity() }

// marker is the key of the position up to which all hashes were written. It goes
// with them when everything is lost.
func (c *Counters) marker() string { return "millrace:likes:" + c.o.Store.Identity() }

// Open implements outbox.Target.
func (c *Counters) Open(ctx context.Context) (position uint64, err error) {
	c.Close()
	if c.client, err = c.o.Connect(); err != nil {
		return 0, err
	}
	return c.Position(ctx)
}

// Position implements outbox.Target: it is 0 after all was lost.
func (c *Counters) Position(ctx context.Context) (uint64, error) {
	text, err := c.client.Get(ctx, c.marker()).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading how far the counters are: %w", err)
	}
	return strconv.ParseUint(text, 10, 64)
}

// Close implements outbox.Target.
func (c *Counters) Close() {
	if c.client != nil {
		_ = c.client.Close() // of connections that are given up
		c.client = nil
	}
}

// count adds reactions to a hash. KEYS is the hash; ARGV the field of the
// ordinal, the ordinal of the first reaction, and the field of each reaction. It
// returns the ordinal that the hash is at then, which is less than that of the
// last reaction where some before the first are missing. It looks before it
// writes, because what a script has written stays when it fails. Ordinals are
// compared as Lua's numbers, which are exact up to 2^53.
var count = strings.TrimSpace(`
local at = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local first = tonumber(ARGV[2])
if at < first - 1 then return at end
local last = first + #ARGV - 3
if last <= at then return last end
for i = 3, #ARGV do
  if not tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '0') then return redis.error_reply('ERR hash value is not an integer') end
end
for i = 3 + at - (first - 1), #ARGV do redis.call('HINCRBY', KEYS[1], ARGV[i], 1) end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', last))
return last
`)

// Take implements outbox.Target.
func (c *Counters) Take(ctx context.Context, entries []outbox.Entry) error {
	var contents []string
	of := map[string][]outbox.Entry{}
	for _, e := range entries {
		if of[e.Content] == nil {
			contents = append(contents, e.Content)
		}
		of[e.Content] = append(of[e.Content], e)
	}
	pipe := c.client.Pipeline()
	answers := make([]*redis.Cmd, len(contents))
	for i, content := range contents {
		answers[i] = c.add(ctx, pipe, of[content])
	}
	_, failed := pipe.Exec(ctx) // with the first error of an answer, or of all
	for i, content := range contents {
		at, err := answers[i].Uint64()
		if isForeign(err) {
			c.skip(content, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("counting in Redis: %w", err)
		}
		list := of[content]
		if last := list[len(list)-1].Ordinal; at < last {
			if err := c.recount(ctx, content, at, last); err != nil {
				return err
			}
		}
	}
	if failed != nil && !isForeign(failed) {
		return fmt.Errorf("counting in Redis: %w", failed)
	}
	// Only now: whoever reads it goes on from there.
	last := entries[len(entries)-1].Position
	if err := c.client.Set(ctx, c.marker(), last, 0).Err(); err != nil {
		return fmt.Errorf("noting how far the counters are: %w", err)
	}
	return nil
}

// isForeign says whether an error means that a key holds something else than
// counts. It would hold up all other contents for ever; once the key is mended,
// the next reaction finds that some are missing, and they are counted.
func isForeign(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "WRONGTYPE") || strings.Contains(err.Error(), "hash value is not an integer"))
}

// skip logs that a content is not counted, now and then.
func (c *Counters) skip(content string, err error) {
	if now := time.Now(); now.Sub(c.warned) >= time.Minute {
		c.warned = now
		c.o.Logger.Warn("a content can not be counted, as its key in Redis holds something else", "key", c.o.Prefix+content, "error", err)
	}
}

// add has a content's reactions added, which have successive ordinals.
func (c *Counters) add(ctx context.Context, to redis.Scripter, list []outbox.Entry) *redis.Cmd {
	args := make([]any, 0, 2+len(list))
	args = append(args, c.field(), list[0].Ordinal)
	for _, e := range list {
		args = append(args, string(e.Kind))
	}
	return to.Eval(ctx, count, []string{c.o.Prefix + list[0].Content}, args...)
}

// recountBatch is how many reactions are counted again at a time.
const recountBatch = 1000

// recount counts again what a hash has lost.
func (c *Counters) recount(ctx context.Context, content string, at, last uint64) error {
	for at < last {
		list, err := c.o.Store.OfContent(ctx, content, at, last, recountBatch)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("%w: content %q has %d reactions in Redis, and none after them in the table", outbox.ErrInvalid, content, at)
		}
		now, err := c.add(ctx, c.client, list).Uint64()
		if err != nil {
			return fmt.Errorf("counting in Redis again: %w", err)
		}
		at = now
	}
	return nil
}
