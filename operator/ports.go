package operator

import (
	"fmt"

	"millrace/event"
)

// Ports is where an operator's constructor declares what it emits and which
// views it writes. An engine passes one to the constructor of every instance.
type Ports struct {
	context *Context
	views   func(ViewWrite)
	sinks   map[string][]any // by port name; each a func(Meta, *O) or a RawSink
	outputs []portDecl
	written []string
}

type portDecl struct {
	name string
	kind string // the record type, for wiring errors
}

// RawSink receives emitted records as pointers; valid during the call only.
type RawSink func(m Meta, record any)

// ViewWrite is one answer to be kept ready: Value under Key in View. A nil
// Value deletes.
type ViewWrite struct {
	View  string
	Key   string
	Value Value
}

// Value is what a view keeps: small, immutable once written, with one byte
// form, so that two engines' views can be compared and other processes can
// hold them.
type Value interface {
	AppendBinary(dst []byte) ([]byte, error)
}

// NewPorts makes the ports of one operator instance; only engines use it.
// sinks holds, for each output port, where its records go: funcs of type
// func(Meta, *O), or RawSinks. A nil map discards everything emitted.
func NewPorts(c *Context, sinks map[string][]any, views func(ViewWrite)) *Ports {
	return &Ports{context: c, sinks: sinks, views: views}
}

// Output is a port through which an operator emits records of type O.
type Output[O any] struct {
	context *Context
	sinks   []func(Meta, *O)
	record  O // the one in flight; here, so that emitting does not allocate
}

// Out declares an output port. The name is unique within the operator and
// names the stream in the topology.
func Out[O any](p *Ports, name string) *Output[O] {
	p.outputs = append(p.outputs, portDecl{name, fmt.Sprintf("%T", *new(O))})
	out := &Output[O]{context: p.context}
	for _, s := range p.sinks[name] {
		switch f := s.(type) {
		case func(Meta, *O):
			out.sinks = append(out.sinks, f)
		case RawSink:
			out.sinks = append(out.sinks, func(m Meta, v *O) { f(m, v) })
		default:
			panic(fmt.Sprintf("operator: port %q emits %T, connected to a %T", name, *new(O), s))
		}
	}
	return out
}

// Emit sends a record downstream with the given event time. The record is
// copied; what it points to must not change afterwards.
func (o *Output[O]) Emit(t event.Time, record O) {
	m := Meta{Time: t, Watermark: o.context.Watermark}
	o.record = record
	for _, s := range o.sinks {
		s(m, &o.record)
	}
}

// Connected reports whether anything reads the port, so that an operator can
// spare the work of making records for nobody.
func (o *Output[O]) Connected() bool { return len(o.sinks) > 0 }

// ViewPort is a view that an operator writes.
type ViewPort[V Value] struct {
	name  string
	write func(ViewWrite)
}

// View declares a view that the operator writes. A view has one writer.
func View[V Value](p *Ports, name string) *ViewPort[V] {
	p.written = append(p.written, name)
	return &ViewPort[V]{name: name, write: p.views}
}

// Put sets the answer of a key. v is immutable from now on.
func (v *ViewPort[V]) Put(key string, value V) {
	if v.write != nil {
		v.write(ViewWrite{View: v.name, Key: key, Value: value})
	}
}

// Delete removes the answer of a key.
func (v *ViewPort[V]) Delete(key string) {
	if v.write != nil {
		v.write(ViewWrite{View: v.name, Key: key})
	}
}
