package flink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/publish"
)

// counterInterval is the least time between two reports of counters.
const counterInterval = event.Second

// Session is one connection: one subtask of one chain.
type Session struct {
	worker *Worker
	conn   io.ReadWriter
	frames frames
	values frames // what is read back while a batch is folded
	result result
	hello  hello
	chain  *chain // nil until there was a HELLO
	began  bool   // there was a START
	counts counts
	flush  flush
	// letters is the edge for dead letters, -1 if there is none.
	letters int
	// failed is why something could not be sent that an operator has emitted.
	failed error
	// reported is when counters were sent last, in processing time.
	reported event.Time
	scratch  []byte

	outbox  *outbox // nil without views
	stop    context.CancelFunc
	answers []operator.ViewWrite // of the batch

	prepare   Publish
	published []byte // scratch
}

// hello is what a connection is for.
type hello struct {
	job, chain                   string
	subtask, parallelism, groups int
	checkpoint                   uint64
}

// counts are what a session has done since its start.
type counts struct {
	records, outputs, batches, stateWrites, stateReads, keysLoaded, viewWrites, letters uint64
}

// NewSession makes the session of a connection; only tests of engines need one
// that Serve has not made.
func (w *Worker) NewSession(conn io.ReadWriter) *Session {
	s := &Session{worker: w, conn: conn, frames: frames{in: conn}, values: frames{in: conn}}
	s.result.to = conn
	s.reported = event.MinTime
	return s
}

// Step reads a request and answers it. What goes wrong is the last reply. The
// error is io.EOF when the peer has ended, or has asked for that.
func (s *Session) Step() error {
	kind, b, err := s.frames.next()
	if errors.Is(err, io.EOF) {
		return err
	}
	if err == nil {
		err = s.answer(kind, b)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		reply := appendBytes(beginFrame(nil, frameError), err.Error())
		endFrame(reply, 0)
		_, _ = s.conn.Write(reply) // the peer may be gone, which is no news
	}
	return err
}

// answer does what a request asks for. An operator that panics, and state that
// can not be read back, are errors.
func (s *Session) answer(kind byte, b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if s.chain == nil {
				panic(r)
			}
			err = s.chain.failed(r)
		}
	}()
	in := body{b: b}
	switch {
	case kind == frameHello && s.chain == nil:
		return s.ok(s.open(&in))
	case kind == frameLoad && s.chain != nil && !s.began:
		return s.ok(s.restore(&in))
	case kind == frameStart && s.chain != nil && !s.began:
		return s.ok(s.begin(&in))
	case kind == frameBatch && s.began:
		return s.batch(&in)
	case kind == frameSnapshot && s.began:
		return s.snapshot(&in)
	case kind == frameClose:
		if err := s.ok(in.err("CLOSE")); err != nil {
			return err
		}
		return io.EOF
	}
	return fmt.Errorf("%w: a frame of type %d out of turn", ErrProtocol, kind)
}

// begin ends the loading of state. The answers of all that was loaded are kept
// then: snapshots, which are taken when all sessions have begun, tell readers that
// nothing is missing.
func (s *Session) begin(in *body) error {
	if err := in.err("START"); err != nil {
		return err
	}
	s.began = true
	if s.outbox == nil {
		return nil
	}
	return s.outbox.drain()
}

// ok says that a request was done.
func (s *Session) ok(err error) error {
	if err != nil {
		return err
	}
	s.scratch = beginFrame(s.scratch[:0], frameOK)
	endFrame(s.scratch, 0)
	_, err = s.conn.Write(s.scratch)
	return err
}

// open begins the work of a chain's subtask.
func (s *Session) open(in *body) error {
	if v := in.u32(); v != Version && !in.bad {
		return fmt.Errorf("%w: version %d, this worker speaks %d: the jar and its binary are of two releases", ErrProtocol, v, Version)
	}
	h := hello{job: in.str()}
	program := in.bytes()
	h.chain = in.str()
	h.subtask, h.parallelism, h.groups = int(in.u32()), int(in.u32()), int(in.u32())
	h.checkpoint = in.u64()
	if err := in.err("HELLO"); err != nil {
		return err
	}
	p, err := s.worker.options.Build(program)
	if err != nil {
		return fmt.Errorf("program of job %q: %w", h.job, err)
	}
	l, err := newLayout(p)
	if err != nil {
		return err
	}
	c, err := l.chain(h.chain)
	if err != nil {
		return err
	}
	s.hello = h
	s.letters = l.to(c, func(sink string) bool { return strings.HasPrefix(sink, SinkTopic) })
	s.prepare = p.Publish
	if err := s.join(p.Views); err != nil {
		return err
	}
	s.chain, err = newChain(l, c, links{subtask: h.subtask, views: s.view, cold: s.cold(), publish: s.publish})
	return err
}

// restore loads keys of one stage.
func (s *Session) restore(in *body) error {
	stage := in.str()
	if stage == SourceChain && s.chain.source != nil {
		return s.loadSource(in)
	}
	t, err := s.chain.stage(stage)
	if err != nil {
		return err
	}
	read := t.Load
	if s.worker.options.MemoryLimit > 0 {
		read = t.LoadCold
	}
	for n := in.u32(); n > 0; n-- {
		key, value := in.bytes(), in.bytes()
		if in.bad {
			break
		}
		if err := read(key, value); err != nil {
			return err
		}
		s.counts.keysLoaded++
	}
	if err := in.err("LOAD"); err != nil {
		return err
	}
	return s.answerLoaded(t)
}

// batch folds what has come, up to each watermark, and moves time.
func (s *Session) batch(in *body) error {
	s.makeRoom()
	s.result.begin()
	now := in.time()
	if s.chain.source != nil {
		s.chain.source.begin(now)
	}
	if err := s.chain.clock(now, s.emit); err != nil {
		return err
	}
	n := in.u32()
	for range n {
		if err := s.item(in); err != nil {
			return err
		}
		if in.bad {
			break
		}
	}
	if err := in.err("BATCH"); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	if s.chain.source != nil {
		if err := s.sourceWatermark(); err != nil {
			return err
		}
	}
	s.counts.batches++
	if err := s.writeBack(int(n)); err != nil {
		return err
	}
	if err := s.report(now); err != nil {
		return err
	}
	return s.result.end()
}

// settle folds what waits, has it leave, and answers for the keys that changed.
func (s *Session) settle() error {
	if err := s.chain.deliver(s.emit); err != nil {
		return err
	}
	if err := s.chain.leave(0, s.emit); err != nil {
		return err
	}
	s.chain.answers()
	if s.failed != nil {
		return s.failed
	}
	return s.pass()
}

// item takes one item of a batch.
func (s *Session) item(in *body) error {
	switch kind := in.u8(); {
	case kind == itemRecord:
		return s.record(in)
	case kind == itemRaw && s.chain.source != nil:
		return s.raw(in)
	case kind == itemAssigned && s.chain.source != nil:
		return s.assigned(in)
	case kind == itemWatermark:
		mark := in.watermark()
		if in.bad {
			return nil
		}
		if err := s.chain.deliver(s.emit); err != nil {
			return err
		}
		s.result.watermark = mark
		return s.chain.advance(mark, s.emit)
	default:
		return fmt.Errorf("%w: an item of kind %d for chain %q", ErrProtocol, kind, s.hello.chain)
	}
}

func (s *Session) record(in *body) error {
	edge, stamped := in.u16(), in.flag()
	m := operator.Meta{Time: in.time(), Watermark: s.chain.mark}
	if stamped { // time here is further only where a partition comes back that was idle
		m.Watermark = max(m.Watermark, in.watermark())
	}
	record := in.bytes()
	if in.bad {
		return nil
	}
	enter := s.chain.entries[edge]
	if enter == nil {
		return fmt.Errorf("%w: edge %d does not lead to chain %q", ErrProtocol, edge, s.hello.chain)
	}
	if m.Time == controlTime {
		return s.chain.forget(m, record, s.emit, s.sendForget(m))
	}
	s.counts.records++
	if err := enter(m, record); err != nil {
		return fmt.Errorf("a record of edge %d: %w", edge, err)
	}
	return nil
}

// sendForget sends a deletion on.
func (s *Session) sendForget(m operator.Meta) func(edge int, key, payload []byte) error {
	return func(edge int, key, payload []byte) error {
		return s.result.output(edge, operator.Meta{Time: controlTime, Watermark: m.Watermark}, key, payload)
	}
}

// publish has a publication leave: its payload is the name of the topic, after
// its length in two bytes, and the value.
func (s *Session) publish(edge int, m operator.Meta, r *publish.Record) {
	if s.failed != nil {
		return
	}
	topic, value, err := s.prepare(r)
	switch {
	case err != nil:
		s.failed = fmt.Errorf("publish: %w", err)
		return
	case topic == "":
		return
	}
	s.published = append(append(appendU16(s.published[:0], len(topic)), topic...), value...)
	s.counts.outputs++
	s.failed = s.result.output(edge, m, []byte(r.Key), s.published)
}

// view takes an answer.
func (s *Session) view(w operator.ViewWrite) {
	if s.outbox != nil {
		s.answers = append(s.answers, w)
	}
}

// join begins the writing of answers.
func (s *Session) join(views Views) error {
	if views == nil {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	w, err := views.Join(ctx, SessionInfo{s.hello.job, s.hello.chain, s.hello.subtask, s.hello.checkpoint != 0})
	if err != nil {
		stop()
		return fmt.Errorf("views: %w", err)
	}
	s.outbox, s.stop = newOutbox(ctx, w), stop
	return nil
}

// close ends the writing of answers. What no checkpoint has needs none.
func (s *Session) close() {
	if s.outbox == nil {
		return
	}
	s.stop()
	_ = s.outbox.drain() // its goroutine ends
	s.outbox.writer.Close()
}

// pass hands over the answers of a batch.
func (s *Session) pass() error {
	if s.outbox == nil {
		return nil
	}
	err := s.outbox.put(s.answers)
	clear(s.answers)
	s.answers = s.answers[:0]
	return err
}

// emit has the records of an edge leave.
func (s *Session) emit(o out) (err error) {
	o.exchange.Encode(0, func(m operator.Meta, key, record []byte) {
		if err == nil {
			s.counts.outputs++
			err = s.result.output(o.edge, m, key, record)
		}
	})
	return err
}

// report adds the counters to a reply now and then.
func (s *Session) report(now event.Time) error {
	if s.reported != event.MinTime && now-s.reported < counterInterval {
		return nil
	}
	s.reported = now
	if s.outbox != nil {
		s.outbox.mutex.Lock()
		s.counts.viewWrites = s.outbox.written
		s.outbox.mutex.Unlock()
	}
	keys, bytes := uint64(0), uint64(0)
	for _, t := range s.chain.tables {
		keys += uint64(t.Len())
		bytes += uint64(max(0, t.Bytes()))
	}
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{"records", s.counts.records}, {"outputs", s.counts.outputs}, {"batches", s.counts.batches},
		{"stateWrites", s.counts.stateWrites}, {"stateReads", s.counts.stateReads}, {"keysLoaded", s.counts.keysLoaded},
		{"viewWrites", s.counts.viewWrites}, {"deadLetters", s.counts.letters}, {"keys", keys}, {"stateBytes", bytes},
	} {
		if err := s.result.counter(c.name, c.value); err != nil {
			return err
		}
	}
	return nil
}
