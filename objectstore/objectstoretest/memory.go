package objectstoretest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/objectstore"
)

// Memory is an objectstore.Store in memory whose clock and failures a test
// decides. The zero value is empty.
type Memory struct {
	// Before, if set, is called before every operation with its name ("put",
	// "get", "stat", "list" or "delete") and key; its error is the
	// operation's, which does nothing then.
	Before func(doing, key string) error
	// After, if set, is called after every operation; its error is the
	// operation's, which has been done all the same.
	After func(doing, key string) error
	// Now is the store's clock, nil for the real one.
	Now func() time.Time

	mutex   sync.Mutex
	objects map[string]stored
}

type stored struct {
	data     []byte
	modified time.Time
}

// String names it.
func (m *Memory) String() string { return "memory" }

// Clone is another store with the same objects, and neither failures nor a
// clock of its own.
func (m *Memory) Clone() *Memory {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c := &Memory{objects: map[string]stored{}}
	for key, o := range m.objects {
		c.objects[key] = o
	}
	return c
}

// Damage changes the bytes of an object behind everybody's back.
func (m *Memory) Damage(key string, change func(data []byte) []byte) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	o := m.objects[key]
	o.data = change(bytes.Clone(o.data))
	m.objects[key] = o
}

// do carries out an operation between Before and After.
func (m *Memory) do(ctx context.Context, doing, key string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Before != nil {
		if err := m.Before(doing, key); err != nil {
			return fmt.Errorf("%s %s: %w", doing, key, err)
		}
	}
	m.mutex.Lock()
	err := fn()
	m.mutex.Unlock()
	if err == nil && m.After != nil {
		err = m.After(doing, key)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, key, err)
	}
	return nil
}

// Put implements objectstore.Store, as do the methods below.
func (m *Memory) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	data, err := io.ReadAll(&objectstore.ExactReader{R: r, Left: size})
	if err != nil {
		return err
	}
	return m.do(ctx, "put", key, func() error {
		now := time.Now
		if m.Now != nil {
			now = m.Now
		}
		if m.objects == nil {
			m.objects = map[string]stored{}
		}
		m.objects[key] = stored{data, now()}
		return nil
	})
}

// Get opens a copy.
func (m *Memory) Get(ctx context.Context, key string) (r io.ReadCloser, err error) {
	if err := objectstore.CheckKey(key); err != nil {
		return nil, err
	}
	err = m.do(ctx, "get", key, func() error {
		o, ok := m.objects[key]
		if !ok {
			return objectstore.ErrNotFound
		}
		r = io.NopCloser(bytes.NewReader(o.data))
		return nil
	})
	return r, err
}

// Stat says what is known of an object.
func (m *Memory) Stat(ctx context.Context, key string) (info objectstore.Object, err error) {
	if err := objectstore.CheckKey(key); err != nil {
		return info, err
	}
	err = m.do(ctx, "stat", key, func() error {
		o, ok := m.objects[key]
		if !ok {
			return objectstore.ErrNotFound
		}
		info = objectstore.Object{Key: key, Size: int64(len(o.data)), Modified: o.modified}
		return nil
	})
	return info, err
}

// List lists objects in order.
func (m *Memory) List(ctx context.Context, prefix string) (list []objectstore.Object, err error) {
	if err := objectstore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	err = m.do(ctx, "list", prefix, func() error {
		for key, o := range m.objects {
			if strings.HasPrefix(key, prefix) {
				list = append(list, objectstore.Object{Key: key, Size: int64(len(o.data)), Modified: o.modified})
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b objectstore.Object) int { return strings.Compare(a.Key, b.Key) })
	return list, err
}

// Delete removes an object.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	return m.do(ctx, "delete", key, func() error {
		delete(m.objects, key)
		return nil
	})
}
