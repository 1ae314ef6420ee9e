package flinktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"millrace/event"
	"millrace/operator"
)

// ErrWorker is the error that a worker has replied with.
var ErrWorker = errors.New("the worker says")

// client is the side of Flink of a connection.
type client struct {
	conn io.ReadWriter
	// stored is what the state of a stage has for a key.
	stored func(stage, key string) ([]byte, bool)
}

// output is a record that a chain has emitted.
type output struct {
	edge   int
	key    string
	meta   operator.Meta
	record []byte
}

// reply is what a batch or a snapshot has come to.
type reply struct {
	watermark event.Time
	idle      bool
	outputs   []output
	writes    []write
	counters  map[string]uint64
}

// write is a change of the state of a stage.
type write struct {
	stage, key string
	value      []byte // nil deletes
}

func u32(b []byte, v int) []byte { return binary.LittleEndian.AppendUint32(b, uint32(v)) }

func u64[N ~int64 | ~uint64](b []byte, v N) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(v))
}

func bytesOf(b []byte, v string) []byte { return append(u32(b, len(v)), v...) }

// send sends a frame.
func (c *client) send(kind byte, body []byte) error {
	_, err := c.conn.Write(append(append(u32(nil, 1+len(body)), kind), body...))
	return err
}

// receive reads a frame.
func (c *client) receive() (kind byte, body []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.LittleEndian.Uint32(head)-1)
	_, err = io.ReadFull(c.conn, body)
	return head[4], body, err
}

// do sends a request whose reply is OK.
func (c *client) do(kind byte, body []byte) error {
	if err := c.send(kind, body); err != nil {
		return err
	}
	got, body, err := c.receive()
	switch {
	case err != nil:
		return err
	case got == 65:
		return fmt.Errorf("%w: %s", ErrWorker, body[4:])
	case got != 64:
		return fmt.Errorf("a frame of type %d, want OK", got)
	}
	return nil
}

// ask sends a request whose reply is a RESULT, and answers a READ on the way.
func (c *client) ask(kind byte, body []byte) (reply, error) {
	all := reply{counters: map[string]uint64{}}
	if err := c.send(kind, body); err != nil {
		return all, err
	}
	for {
		got, body, err := c.receive()
		if err != nil {
			return all, err
		}
		r := reader{body}
		switch got {
		case 65:
			return all, fmt.Errorf("%w: %s", ErrWorker, r.bytes())
		case 67:
			stage, key := string(r.bytes()), string(r.bytes())
			answer := []byte{0}
			if v, ok := c.stored(stage, key); ok {
				answer = bytesOf([]byte{1}, string(v))
			}
			if err := c.send(7, answer); err != nil {
				return all, err
			}
		case 66:
			if !all.add(&r) {
				return all, nil
			}
		default:
			return all, fmt.Errorf("a frame of type %d, want RESULT", got)
		}
	}
}

// reader takes a frame of a worker's apart; it panics if it is too short.
type reader struct{ b []byte }

func (r *reader) take(n int) []byte {
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u32() int { return int(binary.LittleEndian.Uint32(r.take(4))) }

func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) bytes() []byte { return r.take(r.u32()) }

// add adds a part of a result, and reports whether another follows.
func (all *reply) add(r *reader) (more bool) {
	more = r.take(1)[0] == 1
	all.watermark = event.Time(r.u64()) // of the last part
	all.idle = r.take(1)[0] == 1
	for range r.u32() {
		o := output{edge: int(binary.LittleEndian.Uint16(r.take(2))), key: string(r.bytes())}
		o.meta.Time, o.meta.Watermark = event.Time(r.u64()), event.Time(r.u64())
		o.record = r.bytes()
		all.outputs = append(all.outputs, o)
	}
	for range r.u32() {
		stage := string(r.bytes())
		for range r.u32() {
			w := write{stage: stage, key: string(r.bytes())}
			if r.take(1)[0] == 1 {
				w.value = append([]byte{}, r.bytes()...)
			}
			all.writes = append(all.writes, w)
		}
	}
	for range r.u32() {
		name := string(r.bytes())
		all.counters[name] = r.u64()
	}
	if len(r.b) > 0 {
		panic("flinktest: bytes are left of a RESULT")
	}
	return more
}
