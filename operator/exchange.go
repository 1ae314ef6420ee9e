package operator

import (
	"fmt"
	"reflect"

	"millrace/event"
	"millrace/event/wire"
	"millrace/internal/hashindex"
	"millrace/internal/splitmix"
	"millrace/operator/codec"
)

// Exchange carries records from shards of one stage to shards of another, by
// key. Sender i is used by shard i only; Deliver is called when all senders
// of the block are done.
type Exchange interface {
	// Sender is a func(Meta, *I) through which one sending shard emits.
	Sender(from int) any
	// Deliver folds what has been sent to a shard into its table, sender by
	// sender, at most so many records, and reports whether more wait. Buffers
	// are emptied when all of theirs is delivered.
	Deliver(to int, into Table, most int) (more bool)
	// Pending is how many records wait for a shard.
	Pending(to int) int

	// Encode is Deliver where the shard is another process: each is called with
	// every record that waits for it, sender by sender, and its key. The bytes
	// are valid during the call only. It needs an input with a form in bytes,
	// see Node.Encodable, and so does Decode.
	Encode(to int, each func(m Meta, key, record []byte))
	// Uncombined has every record delivered by itself, also if the stage combines
	// its inputs. It is called before the senders are made.
	Uncombined()
	// Decode adds a record that Encode has given, as if a sender had sent it to
	// a shard. A record may go on using the bytes until it is delivered.
	Decode(from, to int, m Meta, record []byte) error
}

// Record is what a type of records implements, on its pointer, that can cross to
// a stage in another process.
type Record interface {
	// AppendRecord appends the record's bytes.
	AppendRecord(dst []byte) []byte
	// ReadRecord reads what AppendRecord wrote, over whatever the record was. A
	// failure is left in r. What is no string may refer to the reader's input.
	ReadRecord(r *wire.Reader)
}

// row is a record in flight.
type row[I any] struct {
	Meta
	record I
}

// keptRows bounds the buffer of a lane that is kept between blocks, in rows: a
// block of an import fills it, and making it anew would cost more than its
// records.
const keptRows = 1 << 17

type exchange[K Key, I any] struct {
	key       func(*I) K
	hash      func(K) uint64
	combine   *Combiner[I]
	broadcast func(*I) bool   // nil if no record goes to every shard
	codec     *codec.Codec[I] // nil if records have no form in bytes
	to        int
	lanes     [][]lane[I] // by sender, by receiver

	reader                wire.Reader // scratch, as are these
	keyBytes, recordBytes []byte
}

// lane is what one sender has for one receiver. Lanes of two senders are not
// on one cache line.
type lane[I any] struct {
	rows      []row[I]
	delivered int
	pointers  bool // whether records hold any
	// seen finds a record that a new one may be merged with, by hash of key
	// and combiner; last is the one that was merged with last.
	seen hashindex.Index
	last int
	_    [64]byte
}

func (d typed[K, S, I]) newExchange(from, to int) Exchange {
	x := &exchange[K, I]{
		key: d.stage.Key, hash: hasher[K](), combine: d.stage.Combine, broadcast: d.stage.Broadcast,
		codec: d.codec(), to: to, lanes: make([][]lane[I], from),
	}
	pointers := holdsPointers(reflect.TypeFor[I]())
	for i := range x.lanes {
		x.lanes[i] = make([]lane[I], to)
		for j := range x.lanes[i] {
			x.lanes[i][j].pointers = pointers
		}
	}
	return x
}

// holdsPointers reports whether values of a type keep anything else alive.
func holdsPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return t.Len() > 0 && holdsPointers(t.Elem())
	}
	return t.Kind() > reflect.Complex128 || t.Kind() == reflect.Uintptr
}

// Sender is the function that fits the stage: one that combines records, one
// for a single shard, or one that picks the lane by key, or all lanes for what
// is broadcast.
func (x *exchange[K, I]) Sender(from int) any {
	lanes := x.lanes[from]
	if x.combine != nil {
		return func(m Meta, v *I) { x.merge(lanes, m, v) }
	}
	if len(lanes) == 1 {
		only := &lanes[0]
		return func(m Meta, v *I) { only.rows = append(only.rows, row[I]{m, *v}) }
	}
	byKey := func(m Meta, v *I) {
		group := int(x.hash(x.key(v)) % KeyGroups)
		l := &lanes[ShardOf(group, x.to)]
		l.rows = append(l.rows, row[I]{m, *v})
	}
	if x.broadcast == nil {
		return byKey
	}
	return func(m Meta, v *I) {
		if !x.broadcast(v) {
			byKey(m, v)
			return
		}
		for i := range lanes {
			lanes[i].rows = append(lanes[i].rows, row[I]{m, *v})
		}
	}
}

// merge adds a record to one that it can be merged with, or appends it. What
// comes in a row for one key is merged without a look at the index.
func (x *exchange[K, I]) merge(lanes []lane[I], m Meta, v *I) {
	k := x.key(v)
	hash := x.hash(k)
	l := &lanes[ShardOf(int(hash%KeyGroups), x.to)]
	if l.last < len(l.rows) && x.into(&l.rows[l.last], k, m, v) {
		return
	}
	seen := l.seen.Find(splitmix.Mix(hash ^ x.combine.Hash(v)))
	if seen.At != hashindex.None && x.into(&l.rows[seen.At], k, m, v) {
		l.last = int(seen.At)
		return
	}
	l.last = len(l.rows)
	seen.At = int32(l.last)
	l.rows = append(l.rows, row[I]{m, *v})
}

// into merges a record into a row, if both are of one key and may be merged.
func (x *exchange[K, I]) into(r *row[I], k K, m Meta, v *I) bool {
	if x.key(&r.record) != k || !x.combine.Merge(&r.record, v) {
		return false
	}
	r.Time = max(r.Time, m.Time)
	r.Watermark = min(r.Watermark, m.Watermark)
	return true
}

// Deliver keeps the buffers for the next block unless they have grown beyond
// keptRows.
func (x *exchange[K, I]) Deliver(to int, into Table, most int) (more bool) {
	table := into.(folder[I])
	for from := range x.lanes {
		l := &x.lanes[from][to]
		n := min(most, len(l.rows)-l.delivered)
		table.foldRows(l.rows[l.delivered : l.delivered+n])
		l.delivered += n
		if l.delivered < len(l.rows) {
			return true
		}
		most -= n
		if len(l.rows) > 0 {
			l.empty()
		}
	}
	return false
}

// folder is a table that folds records of type I.
type folder[I any] interface{ foldRows(rows []row[I]) }

func (l *lane[I]) empty() {
	if l.pointers {
		clear(l.rows) // so that no record is kept alive
	}
	l.rows, l.delivered, l.last = l.rows[:0], 0, 0
	l.seen.Clear()
	if cap(l.rows) > keptRows {
		l.rows, l.seen = nil, hashindex.Index{}
	}
}

// Pending counts the rows of all senders.
func (x *exchange[K, I]) Pending(to int) int {
	n := 0
	for from := range x.lanes {
		l := &x.lanes[from][to]
		n += len(l.rows) - l.delivered
	}
	return n
}

// codec is how inputs of the stage are written, nil if they can not be.
func (d typed[K, S, I]) codec() *codec.Codec[I] {
	if d.stage.Codec != nil {
		return d.stage.Codec
	}
	if _, ok := any(new(I)).(Record); !ok {
		return nil
	}
	return &codec.Codec[I]{
		Append: func(dst []byte, v *I) []byte { return any(v).(Record).AppendRecord(dst) },
		Load:   func(r *wire.Reader, v *I) { any(v).(Record).ReadRecord(r) },
	}
}

// inProcess has inputs without a form in bytes cross as numbers.
func (d typed[K, S, I]) inProcess() definition {
	if d.codec() == nil {
		var kept []I
		d.stage.Codec = &codec.Codec[I]{
			Append: func(dst []byte, v *I) []byte {
				kept = append(kept, *v)
				return wire.AppendUvarint(dst, uint64(len(kept)-1))
			},
			Load: func(r *wire.Reader, v *I) { *v = kept[r.Uvarint()] },
		}
	}
	return d
}

// InProcess has every stage take inputs from "other processes" that have no form
// in bytes, by keeping them for good: for tests of engines with many processes
// that run in one.
func (t *Topology) InProcess() {
	for _, n := range t.nodes {
		n.def = n.def.inProcess()
	}
}

func (d typed[K, S, I]) encodable() error {
	if d.codec() != nil {
		return nil
	}
	return fmt.Errorf("%w: the inputs of stage %q can not cross to another process: %T is no operator.Record, and the stage has no Codec",
		ErrTopology, d.stage.Name, new(I))
}

// Encodable is nil if the inputs of the stage have a form in bytes, so that they
// can come from another process, or an ErrTopology.
func (n *Node) Encodable() error { return n.def.encodable() }

// Uncombined forgets the combiner.
func (x *exchange[K, I]) Uncombined() { x.combine = nil }

// Encode empties the lanes.
func (x *exchange[K, I]) Encode(to int, each func(m Meta, key, record []byte)) {
	for from := range x.lanes {
		l := &x.lanes[from][to]
		for i := range l.rows {
			r := &l.rows[i]
			x.keyBytes = KeyBytes(x.keyBytes[:0], x.key(&r.record))
			x.recordBytes = x.codec.Append(x.recordBytes[:0], &r.record)
			each(r.Meta, x.keyBytes, x.recordBytes)
		}
		if len(l.rows) > 0 {
			l.empty()
		}
	}
}

// Decode reads the record into its place in the lane.
func (x *exchange[K, I]) Decode(from, to int, m Meta, record []byte) error {
	l := &x.lanes[from][to]
	n := len(l.rows)
	l.rows = append(l.rows, row[I]{Meta: m})
	x.reader.Reset(record)
	x.codec.Load(&x.reader, &l.rows[n].record)
	err := x.reader.End()
	if err != nil {
		l.rows = l.rows[:n]
	}
	return err
}

// broadcastTable is a table of a stage with Stage.Broadcast, with the state
// that its operator has of all keys.
type broadcastTable[K Key, S, I any] struct {
	*table[K, S, I]
	is func(*I) bool
	on Broadcaster[I]
	// first says that it is this shard that stores the state.
	first bool
	// any, dirty and pending say whether there is any, whether it changed
	// since the last checkpoint began, and whether that one has it to encode.
	any, dirty, pending bool
	running             bool // in a call of Broadcast
}

func newBroadcastTable[K Key, S, I any](t *table[K, S, I], is func(*I) bool, first bool) *broadcastTable[K, S, I] {
	return &broadcastTable[K, S, I]{table: t, is: is, on: t.op.(Broadcaster[I]), first: first}
}

// foldRows folds the records between two that are broadcast at a time.
func (t *broadcastTable[K, S, I]) foldRows(rows []row[I]) {
	from := 0
	for i := range rows {
		if t.is(&rows[i].record) {
			t.table.foldRows(rows[from:i])
			t.apply(&rows[i])
			from = i + 1
		}
	}
	t.table.foldRows(rows[from:])
}

// apply changes the state of all keys. Timers that the record's own watermark
// has passed fire before, as they do for a record with a key: they see the
// state that they would have seen if watermarks advanced record by record.
func (t *broadcastTable[K, S, I]) apply(r *row[I]) {
	if t.node.Ordered {
		for t.Advance(r.Watermark, prefetchSlots) {
			continue
		}
	}
	t.save()
	t.any, t.dirty, t.running = true, true, true
	t.on.Broadcast(r.Meta, &r.record)
	t.running = false
}

// Current is BroadcastKey while a broadcast record is applied.
func (t *broadcastTable[K, S, I]) Current() (key string, timer, ok bool) {
	if t.running {
		return BroadcastKey, false, true
	}
	return t.table.Current()
}

func (t *broadcastTable[K, S, I]) encoded() []byte {
	h := Header{Version: t.node.Version, Stamp: event.MinTime}
	return t.on.AppendBroadcast(h.AppendTo(nil))
}

// save encodes the state if the checkpoint under way does not have it yet.
func (t *broadcastTable[K, S, I]) save() {
	if t.pending {
		t.pending = false
		t.writes = append(t.writes, StateWrite{Key: []byte(BroadcastKey), Value: t.encoded()})
	}
}

// BeginCheckpoint also fixes the state of all keys.
func (t *broadcastTable[K, S, I]) BeginCheckpoint() {
	t.table.BeginCheckpoint()
	t.pending, t.dirty = t.dirty && t.first, false
}

// Encode also encodes the state of all keys.
func (t *broadcastTable[K, S, I]) Encode(most int) int {
	t.save()
	return t.table.Encode(most)
}

// Load reads the state of all keys too.
func (t *broadcastTable[K, S, I]) Load(key, value []byte) error {
	if string(key) != BroadcastKey {
		return t.table.Load(key, value)
	}
	h, state, err := SplitState(value)
	if err == nil {
		err = t.on.LoadBroadcast(h.Version, state)
	}
	if err != nil {
		return fmt.Errorf("stage %s: load broadcast state: %w", t.node.Name, err)
	}
	t.any = true
	return nil
}

// LoadCold reads the state of all keys into memory all the same.
func (t *broadcastTable[K, S, I]) LoadCold(key, value []byte) error {
	if string(key) == BroadcastKey {
		return t.Load(key, value)
	}
	return t.table.LoadCold(key, value)
}

// Each has the state of all keys last.
func (t *broadcastTable[K, S, I]) Each(fn func(key string, value []byte) error) error {
	return t.andBroadcast(t.table.Each(fn), fn)
}

// HandOver likewise.
func (t *broadcastTable[K, S, I]) HandOver(fn func(key string, value []byte) error) error {
	return t.andBroadcast(t.table.HandOver(fn), fn)
}

func (t *broadcastTable[K, S, I]) andBroadcast(err error, fn func(key string, value []byte) error) error {
	if err == nil && t.first && t.any {
		err = fn(BroadcastKey, t.encoded())
	}
	return err
}

// TakeOver takes the state of all keys too.
func (t *broadcastTable[K, S, I]) TakeOver(key, value []byte) error {
	if string(key) != BroadcastKey {
		return t.table.TakeOver(key, value)
	}
	t.dirty = true
	return t.Load(key, value)
}
