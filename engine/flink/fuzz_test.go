package flink_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
)

// pipe gives a session some bytes, and keeps what it replies.
type pipe struct {
	io.Reader
	out bytes.Buffer
}

func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

// Whatever is sent, a session ends with an error reply or in order: it does not
// panic, and takes no memory for lengths that nothing comes for.
func FuzzSession(f *testing.F) {
	hello := helloOf("J6", "session")
	start := frame(3, nil)
	batch := batches(f, 20, 100)[0]
	f.Add(hello)
	f.Add(bytes.Join([][]byte{hello, frame(2, sized(sized(binary.LittleEndian.AppendUint32(sized(nil, "session"), 1), "12345678"), "\x01\x00")), start}, nil))
	f.Add(bytes.Join([][]byte{hello, start, batch}, nil))
	f.Add(bytes.Join([][]byte{hello, start, frame(4, make([]byte, 12)), frame(5, make([]byte, 9)), frame(6, nil)}, nil))
	f.Add([]byte{255, 255, 255, 15, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for limit := range int64(2) {
			p := &pipe{}
			s := newWorker(limit).NewSession(p)
			var err error
			for rest := b; err == nil && len(rest) > 0; { // a frame at a time, as they come
				n := len(rest)
				if n >= 4 {
					n = min(n, 4+int(binary.LittleEndian.Uint32(rest)))
				}
				p.Reader = bytes.NewReader(rest[:n])
				rest = rest[n:]
				err = s.Step()
			}
			for out := p.out.Bytes(); len(out) > 0; {
				out = out[4+binary.LittleEndian.Uint32(out):] // whole frames, nothing else
			}
		}
	})
}
