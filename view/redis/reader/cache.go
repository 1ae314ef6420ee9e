package reader

import (
	"sync"
	"time"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
)

// cacheShards is over how many locks the cache is spread.
const cacheShards = 16

// cache keeps what was read lately, also that there was nothing. It holds at
// most twice as many entries as it is to: there are two generations, and when
// the younger is full or old the elder is forgotten.
type cache struct {
	life   time.Duration // 0: nothing is kept
	most   int           // entries of a generation, of one shard
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mutex        sync.Mutex
	young, elder map[view.Key]cached
	began        time.Time // of young
}

type cached struct {
	value operator.Value
	until time.Time
}

func newCache(life time.Duration, entries int) *cache {
	return &cache{life: life, most: max(1, entries/cacheShards)}
}

func (c *cache) shard(k view.Key) *cacheShard {
	return &c.shards[event.HashID(k.Key)>>32%cacheShards]
}

func (c *cache) get(k view.Key) (operator.Value, bool) {
	if c.life == 0 {
		return nil, false
	}
	s := c.shard(k)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	e, ok := s.young[k]
	if !ok {
		e, ok = s.elder[k]
	}
	if !ok || time.Now().After(e.until) {
		return nil, false
	}
	return e.value, true
}

func (c *cache) put(k view.Key, v operator.Value) {
	if c.life == 0 {
		return
	}
	s, now := c.shard(k), time.Now()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.young == nil || len(s.young) >= c.most || now.Sub(s.began) > c.life {
		s.elder, s.young, s.began = s.young, map[view.Key]cached{}, now
	}
	s.young[k] = cached{v, now.Add(c.life)}
}
