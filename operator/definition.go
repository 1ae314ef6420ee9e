package operator

import (
	"fmt"

	"millrace/event"
)

// definition is what a Node can do for an engine without naming its types.
type definition interface {
	newTable(n *Node, shard Shard) Table
	newExchange(from, to int) Exchange
	newRaw(n *Node, p RawEnv) Raw
	group(key string) int
	bind(input int, sink any) any
	ttl() *TTL
	encodable() error
	inProcess() definition
}

type typed[K Key, S, I any] struct {
	stage Stage[K, S, I]
	edges []edge[I]
}

func (d typed[K, S, I]) ttl() *TTL { return d.stage.TTL }

// TTL is how long the stage keeps a key that is not used, nil for ever.
func (n *Node) TTL() *TTL { return n.def.ttl() }

// Shard is what one shard's copy of a stage is connected to.
type Shard struct {
	// Index is which one it is. The first one stores what is stored once.
	Index int
	// Sinks are, for each output port, where its records go: what Table.Sink
	// of a chained stage or Exchange.Sender returned, or a RawSink.
	Sinks map[string][]any
	// Views takes the answers.
	Views func(ViewWrite)
	// Cold is where keys are read back that were evicted; without it none is.
	Cold Cold
}

// NewTable makes the live keyed state of one shard of the stage.
func (n *Node) NewTable(s Shard) Table { return n.def.newTable(n, s) }

// NewExchange makes the buffers through which records reach the stage from so
// many senders to so many shards.
func (n *Node) NewExchange(from, to int) Exchange { return n.def.newExchange(from, to) }

// NewRaw makes an instance of the stage for an engine that keeps state its
// own way and works one record at a time.
func (n *Node) NewRaw(env RawEnv) Raw { return n.def.newRaw(n, env) }

// RawEnv is what a Raw instance is connected to.
type RawEnv struct {
	Sinks map[string][]any
	Views func(ViewWrite)
}

// Raw is one instance of a stage's operator with its types erased: in and
// state are pointers. It keeps no keyed state itself.
type Raw interface {
	// Context is what the instance's calls use; the engine begins it and
	// reads its effects.
	Context() *Context
	// Key is the stored form of an input's key, and its key group.
	Key(in any) (key string, group int)
	// NewState makes an empty state.
	NewState() any
	Fold(key string, state, in any)
	Timer(key string, state any, at event.Time)
	ProcessingTimer(key string, state any, at event.Time)
	Append(dst []byte, state any) []byte
	Load(version uint8, src []byte, state any) error
	// Answer writes the key's views; a nil state means that it is gone.
	Answer(key string, state any)
	// IsBroadcast reports whether an input goes to every instance, by
	// Broadcast; the others are those of operator.Broadcaster.
	IsBroadcast(in any) bool
	Broadcast(m Meta, in any)
	AppendBroadcast(dst []byte) []byte
	LoadBroadcast(version uint8, src []byte) error
	// Copy makes a copy of an input, for engines that queue records.
	Copy(in any) any
}

type raw[K Key, S, I any] struct {
	stage   Stage[K, S, I]
	context *Context
	op      Operator[K, S, I]
}

func (d typed[K, S, I]) newRaw(_ *Node, env RawEnv) Raw {
	c := &Context{}
	return &raw[K, S, I]{stage: d.stage, context: c, op: d.stage.New(NewPorts(c, env.Sinks, env.Views))}
}

// Context is shared by all calls of the instance.
func (r *raw[K, S, I]) Context() *Context { return r.context }

// Key asks the stage for the input's key.
func (r *raw[K, S, I]) Key(in any) (string, int) {
	k := r.stage.Key(in.(*I))
	return string(KeyBytes(nil, k)), KeyGroup(k)
}

// NewState is a zero S.
func (r *raw[K, S, I]) NewState() any { return new(S) }

// Fold calls the operator with the types that it has.
func (r *raw[K, S, I]) Fold(key string, state, in any) {
	r.op.Fold(r.context, r.typedKey(key), state.(*S), in.(*I))
}

// Timer calls the operator with the types that it has.
func (r *raw[K, S, I]) Timer(key string, state any, at event.Time) {
	r.op.Timer(r.context, r.typedKey(key), state.(*S), at)
}

// ProcessingTimer calls the operator, which must be a ProcessingTimer.
func (r *raw[K, S, I]) ProcessingTimer(key string, state any, at event.Time) {
	r.op.(ProcessingTimer[K, S]).ProcessingTimer(r.context, r.typedKey(key), state.(*S), at)
}

// Append writes the operator's part of a stored key, see Header.
func (r *raw[K, S, I]) Append(dst []byte, state any) []byte { return r.op.Append(dst, state.(*S)) }

// Load reads the operator's part of a stored key, see SplitState.
func (r *raw[K, S, I]) Load(version uint8, src []byte, state any) error {
	return r.op.Load(version, src, state.(*S))
}

// Answer does nothing for operators without answers.
func (r *raw[K, S, I]) Answer(key string, state any) {
	a, ok := r.op.(Answerer[K, S])
	if !ok {
		return
	}
	if state == nil {
		a.Answer(r.typedKey(key), nil)
		return
	}
	a.Answer(r.typedKey(key), state.(*S))
}

// IsBroadcast asks the stage.
func (r *raw[K, S, I]) IsBroadcast(in any) bool {
	return r.stage.Broadcast != nil && r.stage.Broadcast(in.(*I))
}

// Broadcast calls the operator, which must be a Broadcaster.
func (r *raw[K, S, I]) Broadcast(m Meta, in any) { r.op.(Broadcaster[I]).Broadcast(m, in.(*I)) }

// AppendBroadcast writes the operator's part of what is stored.
func (r *raw[K, S, I]) AppendBroadcast(dst []byte) []byte {
	return r.op.(Broadcaster[I]).AppendBroadcast(dst)
}

// LoadBroadcast reads what AppendBroadcast wrote.
func (r *raw[K, S, I]) LoadBroadcast(version uint8, src []byte) error {
	return r.op.(Broadcaster[I]).LoadBroadcast(version, src)
}

// Copy is shallow, as an exchange copies.
func (r *raw[K, S, I]) Copy(in any) any {
	v := *in.(*I)
	return &v
}

func (r *raw[K, S, I]) typedKey(key string) K {
	k, ok := KeyFrom[K]([]byte(key))
	if !ok {
		panic(fmt.Sprintf("operator: stage %q: %q is not a key", r.stage.Name, key))
	}
	return k
}

// Group is the key group of a stored key of the stage.
func (n *Node) Group(key string) int { return n.def.group(key) }

func (d typed[K, S, I]) group(key string) int {
	k, _ := KeyFrom[K]([]byte(key))
	return KeyGroup(k)
}
