package redis

import (
	"context"
	"time"
)

// Time is that of the server's clock; of a cluster, of one of its nodes.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	t, err := c.redis.Time(ctx).Result()
	return t, unreachable(err)
}
