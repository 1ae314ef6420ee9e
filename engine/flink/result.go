package flink

import (
	"encoding/binary"
	"fmt"
	"io"

	"millrace/event"
	"millrace/operator"
)

// resultBytes is from which size on a result is sent in parts.
const resultBytes = 1 << 20

// result is the reply to a batch or a snapshot on its way. Outputs are added
// first, then state, then counters; when a part is large enough it is sent.
type result struct {
	to      io.Writer
	buf     []byte
	section int // 0 outputs, 1 state, 2 counters
	count   int // where the number of what the section has is written
	n       uint32
	stage   string
	stageN  uint32
	stageAt int // where the number of the stage's keys is written

	watermark event.Time
	idle      bool
}

const (
	resultMore      = headerBytes // where a part says whether another follows
	resultWatermark = resultMore + 1
	resultIdle      = resultWatermark + 8
	resultOutputs   = resultIdle + 1
)

// begin begins a reply.
func (r *result) begin() {
	r.watermark, r.idle = event.MinTime, false
	r.part()
}

func (r *result) part() {
	if cap(r.buf) > keptBuffer {
		r.buf = nil
	}
	r.buf = beginFrame(r.buf[:0], frameResult)
	r.buf = append(r.buf, 0)
	r.buf = appendTime(r.buf, flinkMin)
	r.buf = append(r.buf, 0)
	r.section, r.count, r.n, r.stage = 0, len(r.buf), 0, ""
	r.buf = appendU32(r.buf, 0)
}

// next begins the next section.
func (r *result) next() {
	r.endStage()
	binary.LittleEndian.PutUint32(r.buf[r.count:], r.n)
	r.section, r.count, r.n = r.section+1, len(r.buf), 0
	r.buf = appendU32(r.buf, 0)
}

func (r *result) endStage() {
	if r.stage != "" {
		binary.LittleEndian.PutUint32(r.buf[r.stageAt:], r.stageN)
		r.stage = ""
	}
}

// at goes to a section, in another part if this one is past it or is large.
func (r *result) at(section int) error {
	if len(r.buf) >= resultBytes || r.section > section {
		if err := r.send(true); err != nil {
			return err
		}
		r.part()
	}
	for r.section < section {
		r.next()
	}
	return nil
}

// output adds a record.
func (r *result) output(edge int, m operator.Meta, key, record []byte) error {
	if err := r.at(0); err != nil {
		return err
	}
	b := appendU16(r.buf, edge)
	b = appendBytes(b, key)
	b = appendTime(b, m.Time)
	b = appendTime(b, toFlink(m.Watermark))
	r.buf = appendBytes(b, record)
	r.n++
	return nil
}

// state adds what a key of a stage is to be stored as.
func (r *result) state(stage string, w operator.StateWrite) error {
	if err := r.at(1); err != nil {
		return err
	}
	if r.stage != stage {
		r.endStage()
		r.stage, r.stageN = stage, 0
		r.buf = appendBytes(r.buf, stage)
		r.stageAt = len(r.buf)
		r.buf = appendU32(r.buf, 0)
		r.n++
	}
	r.buf = appendBytes(r.buf, w.Key)
	if w.Value == nil {
		r.buf = append(r.buf, 0)
	} else {
		r.buf = appendBytes(append(r.buf, 1), w.Value)
	}
	r.stageN++
	return nil
}

// counter adds how much there has been of something.
func (r *result) counter(name string, value uint64) error {
	if err := r.at(2); err != nil {
		return err
	}
	r.buf = binary.LittleEndian.AppendUint64(appendBytes(r.buf, name), value)
	r.n++
	return nil
}

// end sends the last part.
func (r *result) end() error {
	if err := r.at(2); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(r.buf[resultWatermark:], uint64(toFlink(r.watermark)))
	if r.idle {
		r.buf[resultIdle] = 1
	}
	return r.send(false)
}

func (r *result) send(more bool) error {
	for r.section < 2 {
		r.next()
	}
	r.endStage()
	binary.LittleEndian.PutUint32(r.buf[r.count:], r.n)
	if more {
		r.buf[resultMore] = 1
	}
	endFrame(r.buf, 0)
	if _, err := r.to.Write(r.buf); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}
