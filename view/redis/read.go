package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"millrace/operator"
	"millrace/view"
)

// Fetched is what was read of a key. Its Value is nil if there is no answer.
type Fetched struct {
	Value operator.Value
	Order Order
}

// Fetch reads answers with one round trip to each node, and the state before
// them if it is wanted. Of a single node the state is not newer than the
// answers: everything up to its block is in them. found says whether there is a
// state.
func (c *Client) Fetch(ctx context.Context, keys []view.Key, withState bool) (list []Fetched, s State, found bool, err error) {
	var stateOf *redis.SliceCmd
	commands := make([]*redis.StringCmd, len(keys))
	p := c.redis.Pipeline()
	if withState {
		stateOf = p.HMGet(ctx, c.stateKey(), fields...)
	}
	for i, k := range keys {
		commands[i] = p.Get(ctx, c.viewKey(k.View, k.Key))
	}
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, s, false, unreachable(err)
	}
	if withState {
		if s, found, err = parseState(stateOf.Val()); err != nil {
			return nil, s, found, err
		}
	}
	list = make([]Fetched, len(keys))
	for i, k := range keys {
		b, err := commands[i].Bytes()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, s, found, unreachable(err)
		}
		if list[i].Value, list[i].Order, err = decodeValue(c.decoders[k.View], b); err != nil {
			return nil, s, found, fmt.Errorf("view %s: %w", k.View, err)
		}
	}
	return list, s, found, nil
}

// State reads how far the owner of the prefix has come; false if there is
// none.
func (c *Client) State(ctx context.Context) (State, bool, error) {
	_, s, found, err := c.Fetch(ctx, nil, true)
	return s, found, err
}

// Positions are how far the sources have come that the answers are made of.
func (c *Client) Positions(ctx context.Context) (map[string]uint64, error) {
	fields, err := c.redis.HGetAll(ctx, c.positionsKey()).Result()
	if err != nil {
		return nil, unreachable(err)
	}
	positions := make(map[string]uint64, len(fields))
	for source, text := range fields {
		if positions[source], err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("position of %q: %w: %.20q", source, ErrCorrupt, text)
		}
	}
	return positions, nil
}

// Figures are all fields of the state, for people.
func (c *Client) Figures(ctx context.Context) (map[string]string, error) {
	all, err := c.redis.HGetAll(ctx, c.stateKey()).Result()
	return all, unreachable(err)
}

// Each calls fn for every answer of a view, in the order of the keys. It reads
// all keys under the prefix, so it is for comparing views and not for serving.
func (c *Client) Each(ctx context.Context, name string, fn func(key string, v operator.Value) error) error {
	start, found := c.viewKey(name, "x"), map[string]bool{}
	start = start[:len(start)-2]
	err := c.scan(ctx, start+"*", func(keys []string) error {
		for _, key := range keys {
			found[unescape(key[len(start):len(key)-1])] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(found)), sweepScan) {
		keys := make([]view.Key, len(chunk))
		for i, key := range chunk {
			keys[i] = view.Key{View: name, Key: key}
		}
		list, _, _, err := c.Fetch(ctx, keys, false)
		if err != nil {
			return err
		}
		for i, f := range list {
			if f.Value == nil {
				continue
			}
			if err := fn(chunk[i], f.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
