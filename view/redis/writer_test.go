package redis_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"millrace/operator"
	"millrace/view"
	"millrace/view/redis"
	"millrace/view/redis/redistest"
)

// text is an answer.
type text string

func (t text) AppendBinary(dst []byte) ([]byte, error) { return append(dst, t...), nil }

func join(t *testing.T, c *redis.Client) *redis.Writer {
	t.Helper()
	w, err := c.Join(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Of several writers the one that has joined last has the last word, however late
// another is; and one that writes after Redis has lost everything is told so.
func TestWriters(t *testing.T) {
	server := redistest.Start(t)
	config := redis.DefaultConfig()
	config.Addresses = []string{server.Address}
	client, err := redis.NewClient(config, view.Decoders{"v": func(b []byte) (operator.Value, error) { return text(b), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	write := func(w *redis.Writer, value text) error {
		return w.Write(ctx, []operator.ViewWrite{{View: "v", Key: "k", Value: value}})
	}
	expect := func(want text) {
		t.Helper()
		list, _, _, err := client.Fetch(ctx, []view.Key{{View: "v", Key: "k"}}, false)
		if err != nil || list[0].Value != operator.Value(want) {
			t.Fatalf("got %v, %v, want %v", list, err, want)
		}
	}
	first := join(t, client)
	if err := errors.Join(write(first, "a"), write(first, "b")); err != nil {
		t.Fatal(err)
	}
	expect("b")
	second := join(t, client)
	if err := errors.Join(write(second, "c"), write(first, "d")); err != nil {
		t.Fatal(err)
	}
	expect("c")
	for name, lose := range map[string]func(){
		"emptied": func() { server.Do("FLUSHALL") },
		"killed":  func() { server.Kill(); server.Start() },
	} {
		w := join(t, client)
		if err := w.Check(ctx); err != nil {
			t.Fatal(err)
		}
		lose()
		var err error
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
			if err = w.Check(ctx); !errors.Is(err, redis.ErrUnreachable) {
				break
			}
		}
		if !errors.Is(err, redis.ErrLost) {
			t.Errorf("%s: %v, want ErrLost", name, err)
		}
		if err := write(join(t, client), text(fmt.Sprint("after ", name))); err != nil {
			t.Error(err)
		}
		expect(text(fmt.Sprint("after ", name)))
	}
}

// The stream time is the largest that any writer has told, whoever has the lease.
func TestStreamTimeOfWriters(t *testing.T) {
	server := redistest.Start(t)
	config := redis.DefaultConfig()
	config.Addresses = []string{server.Address}
	client, err := redis.NewClient(config, view.Decoders{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	first, second := join(t, client), join(t, client)
	if err := first.RaiseStreamTime(ctx, 9); err != nil { // nobody owns the prefix yet
		t.Fatal(err)
	}
	if _, found, err := client.State(ctx); found || err != nil {
		t.Errorf("there is a state without an owner, %v", err)
	}
	lease, _, err := client.Claim(ctx, redis.Owner{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		first.RaiseStreamTime(ctx, 7), second.RaiseStreamTime(ctx, 1_767_603_600_000), first.RaiseStreamTime(ctx, 8),
		lease.Advance(ctx, &redis.Advance{Phase: redis.Live, Stands: true, Block: 3, StreamTime: 5, Raised: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s, _, err := client.State(ctx); err != nil || s.StreamTime != 1_767_603_600_000 || s.Block != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}
