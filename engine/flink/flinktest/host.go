package flinktest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"millrace/engine/flink"
)

// HarnessFolder is the environment variable with the folder of sockets, one for
// each state backend, on which Flink's own operator harness listens. Java starts
// it: see OperatorSuiteTest and HarnessServer in flink/src/test.
const HarnessFolder = "MILLRACE_FLINK_HARNESS"

// What a Host says to the harness besides the frames of flink/PROTOCOL.md.
const (
	frameHost    = 10 // str path of the stub: this connection is a host's
	frameGroup   = 11 // bytes key: which key group has it
	frameSubtask = 12 // str path of the stub, str plan: what follows is said to a subtask
	frameGrouped = 80 // u32 key group
)

// stub is run in place of the millrace binary: the worker is in this process.
const stub = `#!/bin/sh
ln -s '%s' "$3" && echo ready && read -r _
`

// Host has the tasks of a cluster run by Flink's operators, in Flink's own harness in
// a Java process, with a worker of this process. To a task it looks like a
// worker: what is sent in a BATCH is given to the operator as elements and
// watermarks, and what the operator emits comes back; after a SNAPSHOT, what the
// state of Flink has. A job that starts from a checkpoint has its state from
// Flink's snapshots, repartitioned by Flink: what is loaded it is only compared
// with.
type Host struct {
	backend string // the socket of the harness
	folder  string
	control *client
	conn    net.Conn
	groups  map[string]int
	stop    context.CancelFunc
	served  chan error
}

// Backends are the state backends that the harness can be had with, none where
// there is no harness.
func Backends() []string {
	if os.Getenv(HarnessFolder) == "" {
		return nil
	}
	return []string{"hashmap", "rocksdb"}
}

// NewHost makes a host whose operators keep their state in a backend and talk to a
// worker.
func NewHost(backend string, w *flink.Worker) (*Host, error) {
	root := os.Getenv(HarnessFolder)
	folder, err := os.MkdirTemp(root, "host-")
	if err != nil {
		return nil, err
	}
	h := &Host{backend: filepath.Join(root, backend), folder: folder, groups: map[string]int{}, served: make(chan error, 1)}
	socket := filepath.Join(folder, "worker")
	if err := os.WriteFile(h.stub(), fmt.Appendf(nil, stub, socket), 0o700); err != nil { // it is run
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() { h.served <- w.Serve(ctx, listener) }()
	h.control, h.conn, err = h.open(bytesOf(nil, h.stub()), frameHost)
	return h, err
}

func (h *Host) stub() string { return filepath.Join(h.folder, "millrace") }

// open opens a connection whose first frame is answered by OK.
func (h *Host) open(body []byte, kind byte) (*client, net.Conn, error) {
	conn, err := net.Dial("unix", h.backend)
	if err != nil {
		return nil, nil, fmt.Errorf("the harness of Flink (%s): %w", HarnessFolder, err)
	}
	c := &client{conn: conn}
	return c, conn, c.do(kind, body)
}

// dial is Options.Dial for the tasks of a plan.
func (h *Host) dial(p *flink.Plan) func(func(stage, key string) ([]byte, bool)) (io.ReadWriteCloser, error) {
	return func(func(stage, key string) ([]byte, bool)) (io.ReadWriteCloser, error) {
		_, conn, err := h.open(bytesOf(bytesOf(nil, h.stub()), p.String()), frameSubtask)
		return conn, err
	}
}

// group is the key group in which Flink has a key.
func (h *Host) group(key string) (int, error) {
	if group, ok := h.groups[key]; ok {
		return group, nil
	}
	if err := h.control.send(frameGroup, bytesOf(nil, key)); err != nil {
		return 0, err
	}
	kind, body, err := h.control.receive()
	if err != nil {
		return 0, fmt.Errorf("the key group of %q: %w", key, err)
	}
	if kind != frameGrouped {
		return 0, fmt.Errorf("the key group of %q: a frame of type %d, want GROUPED", key, kind)
	}
	h.groups[key] = int(binary.LittleEndian.Uint32(body))
	return h.groups[key], nil
}

// Close ends the worker, and has the harness forget the checkpoints.
func (h *Host) Close() error {
	h.stop()
	return errors.Join(<-h.served, h.conn.Close(), os.RemoveAll(h.folder))
}
