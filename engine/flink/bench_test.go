package flink_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"millrace/event"
	"millrace/reference"
)

const (
	benchEvents = 1 << 20
	benchBatch  = 1024
)

// frame makes a request.
func frame(kind byte, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(1+len(body)))
	return append(append(b, kind), body...)
}

func sized(b []byte, v string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
}

// helloOf is the HELLO of the only subtask of a job's first chain.
func helloOf(job, chain string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 1)
	b = sized(sized(sized(b, job), job), chain)
	b = append(b, 0, 0, 0, 0, 1, 0, 0, 0, 128, 0, 0, 0)
	return frame(1, binary.LittleEndian.AppendUint64(b, 0))
}

// batches are BATCH frames with all events of the generator, of one partition
// after the other, benchBatch at a time, with a watermark each.
func batches(b testing.TB, events, users uint64) (all [][]byte) {
	for partition := range 2 {
		r, err := reference.Generator{Events: events, Users: users}.Open(partition, 0)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			body := make([]byte, 12)
			n, last := uint32(0), event.Time(0)
			_, err = r.Read(benchBatch, func(t event.Time, e *reference.Event) {
				body = append(body, 0, 0, 0, 0) // a record of edge 0, not stamped
				body = binary.LittleEndian.AppendUint64(body, uint64(t))
				body = sized(body, string(e.AppendRecord(nil)))
				n++
				last = t
			})
			body = binary.LittleEndian.AppendUint64(append(body, 1), uint64(last-5001))
			binary.LittleEndian.PutUint64(body, uint64(last))
			binary.LittleEndian.PutUint32(body[8:], n+1)
			all = append(all, frame(4, body))
		}
	}
	return all
}

// script gives a session one frame at a time, and drops what it replies.
type script struct {
	frame []byte
	out   int
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.frame) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.frame)
	s.frame = s.frame[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b[4:], []byte{65}) {
		panic(string(b))
	}
	s.out += len(b)
	return len(b), nil
}

// What a record costs in the worker, without the socket: the time of a batch of
// 1,024, divided; a snapshot is taken every 2^18 records.
func BenchmarkRecord(b *testing.B) {
	for _, c := range []struct{ job, chain string }{{"J1", "count"}, {"J4", "profile"}, {"J6", "session"}} {
		b.Run(c.job, func(b *testing.B) {
			list := batches(b, benchEvents, reference.DefaultUsers)
			s := &script{}
			session := newWorker(0).NewSession(s)
			do := func(f []byte) {
				s.frame = f
				if err := session.Step(); err != nil {
					b.Fatal(err)
				}
			}
			do(helloOf(c.job, c.chain))
			do(frame(3, nil))
			snapshot := frame(5, make([]byte, 9))
			for _, f := range list {
				do(f)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += benchBatch {
				do(list[n/benchBatch%len(list)])
				if n&(1<<18-1) == 0 {
					do(snapshot)
				}
			}
		})
	}
}
