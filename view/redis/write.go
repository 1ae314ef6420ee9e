package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/operator"
)

const (
	// scriptKeys is how many keys one call of a script writes at most: more
	// would keep Redis from answering others for long.
	scriptKeys = 32
	// tripBytes is how much is sent with one round trip, roughly.
	tripBytes = 256 << 10
	// tripCalls is how many calls are.
	tripCalls = 1024
	// tombstoneTTL is how long a deletion keeps out older writes that are on
	// their way, in milliseconds.
	tombstoneTTL = int64(time.Minute / time.Millisecond)
)

// Write writes answers, as of an order that each has, unless a newer one is
// there. It returns when Redis has all of them; after an error some of them may
// be there, or may yet come. Writing them again does no harm. Of several writes
// of a key in one call the last counts.
func (c *Client) Write(ctx context.Context, o Order, writes []operator.ViewWrite) error {
	w := writer{client: c, ctx: ctx, order: o}
	for i := range writes {
		if err := w.add(&writes[i]); err != nil {
			return err
		}
	}
	return w.flush()
}

// writer gathers writes for calls of writeScript. In a cluster the keys of a
// call are of one slot; otherwise they are whatever comes.
type writer struct {
	client *Client
	ctx    context.Context
	order  Order
	calls  map[uint16]*writeCall // by slot
	full   []*writeCall
	bytes  int
	count  int
}

type writeCall struct {
	keys []string
	args []any
}

func (w *writer) add(write *operator.ViewWrite) error {
	value, err := appendValue(nil, w.order, write.Value)
	if err != nil {
		return fmt.Errorf("view %s: encode: %w", write.View, err)
	}
	ttl := w.client.config.ttl(write.View)
	if write.Value == nil {
		ttl = tombstoneTTL
	}
	key, at := w.client.viewKey(write.View, write.Key), uint16(0)
	if w.client.config.Cluster {
		at = slot(key)
	}
	if w.calls == nil {
		w.calls = map[uint16]*writeCall{}
	}
	call := w.calls[at]
	if call == nil {
		call = &writeCall{}
		w.calls[at] = call
		w.count++
	}
	call.keys = append(call.keys, key)
	call.args = append(call.args, value, ttl)
	if len(call.keys) == scriptKeys {
		w.full = append(w.full, call)
		delete(w.calls, at)
	}
	if w.bytes += len(key) + len(value); w.bytes >= tripBytes || w.count >= tripCalls {
		return w.flush()
	}
	return nil
}

// flush sends what was gathered, with one round trip. The last write of a key
// comes last, as full calls come before the others.
func (w *writer) flush() error {
	if w.bytes == 0 {
		return nil
	}
	calls := w.full
	for _, call := range w.calls {
		calls = append(calls, call)
	}
	err := w.client.trip(w.ctx, func(p redis.Pipeliner) {
		for _, call := range calls {
			writeScript.EvalSha(w.ctx, p, call.keys, call.args...)
		}
	})
	w.calls, w.full, w.bytes, w.count = nil, nil, 0, 0
	return err
}

// trip sends commands together. Scripts that a node does not know are loaded,
// and everything is sent again.
func (c *Client) trip(ctx context.Context, fill func(redis.Pipeliner)) error {
	for try := 0; ; try++ {
		p := c.redis.Pipeline()
		fill(p)
		results, err := p.Exec(ctx)
		if err == nil {
			return nil
		}
		forgotten := false
		for _, r := range results {
			if e := r.Err(); e != nil && !errors.Is(e, redis.Nil) {
				err = e
				forgotten = forgotten || strings.HasPrefix(e.Error(), "NOSCRIPT")
			}
		}
		if !forgotten || try > 0 {
			return unreachable(err)
		}
		if err := c.loadScripts(ctx); err != nil {
			return err
		}
	}
}

// sweepScan is how many keys are looked at together.
const sweepScan = 1000

// scan calls fn with all keys that match a pattern, some at a time and one call
// at a time. A key may come twice.
func (c *Client) scan(ctx context.Context, pattern string, fn func(keys []string) error) error {
	var mutex sync.Mutex
	return c.eachMaster(ctx, func(ctx context.Context, node redis.Cmdable) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, pattern, sweepScan).Result()
			if err != nil {
				return unreachable(err)
			}
			mutex.Lock()
			err = fn(keys)
			mutex.Unlock()
			if err != nil {
				return err
			}
			if cursor = next; next == 0 {
				return nil
			}
		}
	})
}

// Sweep deletes the answers that are older than an epoch: whoever has written
// all that lives under it deletes so what does not live any more. pause is
// called between looks at some keys each.
func (c *Client) Sweep(ctx context.Context, epoch uint64, pause func(keys int) error) (deleted int64, err error) {
	limit := sweepLimit(epoch)
	err = c.scan(ctx, c.viewPattern(), func(keys []string) error {
		n, err := c.sweepKeys(ctx, limit, keys)
		deleted += n
		if err != nil {
			return err
		}
		return pause(len(keys))
	})
	return deleted, err
}

// sweepLimit is a header of which all of earlier epochs are older.
func sweepLimit(epoch uint64) []byte {
	header := appendHeader(nil, Order{}, 0)
	binary.BigEndian.PutUint64(header[2:], epoch)
	return header
}

// isOtherType says whether a key holds no text, and so is none of ours.
func isOtherType(err error) bool { return strings.Contains(err.Error(), "WRONGTYPE") }

// sweepKeys deletes those of the keys that are older than a header.
func (c *Client) sweepKeys(ctx context.Context, limit []byte, keys []string) (deleted int64, err error) {
	headers := make([]*redis.StringCmd, len(keys))
	err = c.trip(ctx, func(p redis.Pipeliner) {
		for i, key := range keys {
			headers[i] = p.GetRange(ctx, key, 0, headerBytes-1)
		}
	})
	for _, h := range headers {
		if e := h.Err(); e != nil && !isOtherType(e) {
			return 0, err
		}
	}
	wantOrder, _, _ := splitValue(limit)
	var calls []*redis.Cmd
	err = c.trip(ctx, func(p redis.Pipeliner) {
		calls = calls[:0]
		for i, key := range keys {
			header, _ := headers[i].Bytes()
			if order, _, err := splitValue(header); err == nil && order.before(wantOrder) {
				calls = append(calls, sweepScript.EvalSha(ctx, p, []string{key}, limit))
			}
		}
	})
	for _, call := range calls {
		n, _ := call.Int64()
		deleted += n
	}
	return deleted, err
}
