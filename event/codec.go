package event

import (
	"encoding/binary"
	"errors"
	"math"

	"millrace/event/wire"
)

// ErrVersion is the error of a Reader that met a record written in a form that
// this release does not know.
var ErrVersion = errors.New("record of an unknown version")

// The versions of the stored forms: the first byte of every record.
const (
	eventVersion  = 1
	changeVersion = 1
)

// Which optional fields of a stored event follow, in the order of the bits.
// A value that is a whole number (a rating, a dwell time in seconds) is kept
// as a varint, any other as an IEEE double.
const (
	hasWholeValue = 1 << iota
	hasDoubleValue
	hasID
	hasSession
	hasRequest
	hasMetadata

	knownEventFlags = 1<<iota - 1
)

// maxExactWhole bounds the whole numbers that a double holds exactly.
const maxExactWhole = 1 << 53

// Names are the strings that a decoder need not allocate. Each hook returns
// the string of the bytes, which it must not keep; a nil hook, or a nil
// *Names, means a plain copy.
type Names struct {
	Type func([]byte) string
	Item func([]byte) string
}

func (n *Names) typeName(b []byte) string {
	if n == nil || n.Type == nil {
		return string(b)
	}
	return n.Type(b)
}

func (n *Names) item(b []byte) string {
	if n == nil || n.Item == nil {
		return string(b)
	}
	return n.Item(b)
}

// AppendEvent appends the stored form of an event: version, flags, user, item,
// type, time, then the optional fields that the flags name. It is exact for
// every event, valid or not; empty metadata reads back as nil.
func AppendEvent(dst []byte, e *Event) []byte {
	flags, whole := eventFlags(e)
	dst = append(dst, eventVersion, flags)
	dst = wire.AppendString(dst, e.User)
	dst = wire.AppendString(dst, e.Item)
	dst = wire.AppendString(dst, e.Type)
	dst = wire.AppendVarint(dst, int64(e.Time))
	switch {
	case flags&hasWholeValue != 0:
		dst = wire.AppendVarint(dst, whole)
	case flags&hasDoubleValue != 0:
		dst = wire.AppendFloat64(dst, e.Value)
	}
	if flags&hasID != 0 {
		dst = wire.AppendString(dst, e.ID)
	}
	if flags&hasSession != 0 {
		dst = wire.AppendString(dst, e.Session)
	}
	if flags&hasRequest != 0 {
		dst = wire.AppendString(dst, e.Request)
	}
	if flags&hasMetadata != 0 {
		dst = wire.AppendBytes(dst, e.Metadata)
	}
	return dst
}

// eventFlags says which optional fields e has, and its value as a whole number
// where the flags say that it is one.
func eventFlags(e *Event) (flags byte, whole int64) {
	if e.HasValue {
		flags |= hasDoubleValue
		// The comparison of bits keeps -0 and NaN what they are.
		if math.Abs(e.Value) <= maxExactWhole {
			whole = int64(e.Value)
			if math.Float64bits(float64(whole)) == math.Float64bits(e.Value) {
				flags ^= hasDoubleValue | hasWholeValue
			}
		}
	}
	if e.ID != "" {
		flags |= hasID
	}
	if e.Session != "" {
		flags |= hasSession
	}
	if e.Request != "" {
		flags |= hasRequest
	}
	if len(e.Metadata) > 0 {
		flags |= hasMetadata
	}
	return flags, whole
}

// ReadEvent reads what AppendEvent wrote into e, all of it. Strings are copies
// of their own or what names gives, so that an event that is kept does not
// keep its log block; Metadata is part of the reader's input. A failure is
// left in r: wire.ErrCorrupt or ErrVersion, and e is then not an event.
func ReadEvent(r *wire.Reader, e *Event, names *Names) {
	*e = Event{}
	if !readVersion(r, eventVersion) {
		return
	}
	flags := r.Byte()
	if flags&^knownEventFlags != 0 || flags&(hasWholeValue|hasDoubleValue) == hasWholeValue|hasDoubleValue {
		r.Fail(wire.ErrCorrupt)
		return
	}
	e.User = r.String()
	item, kind := r.Bytes(), r.Bytes()
	e.Time = Time(r.Varint())
	if r.Err() != nil {
		return
	}
	e.Item, e.Type = names.item(item), names.typeName(kind)
	switch {
	case flags&hasWholeValue != 0:
		e.HasValue, e.Value = true, float64(r.Varint())
	case flags&hasDoubleValue != 0:
		e.HasValue, e.Value = true, r.Float64()
	}
	if flags&hasID != 0 {
		e.ID = r.String()
	}
	if flags&hasSession != 0 {
		e.Session = r.String()
	}
	if flags&hasRequest != 0 {
		e.Request = r.String()
	}
	if flags&hasMetadata != 0 {
		if b := r.Bytes(); len(b) > 0 {
			e.Metadata = b
		}
	}
}

// readVersion reads the first byte of a record. An input that has ended is
// corrupt, a version other than the one that is known is ErrVersion.
func readVersion(r *wire.Reader, known byte) bool {
	if v := r.Byte(); r.Err() == nil && v != known {
		r.Fail(ErrVersion)
	}
	return r.Err() == nil
}

// AppendRecord appends what the catalogue knew and the stored form of the event:
// with lengths of four bytes, little-endian, before item and user, 0 if it knew
// nothing. Row is not written.
func (e *Enriched) AppendRecord(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	if e.ItemInfo != nil {
		dst = appendItem(dst, e.ItemInfo)
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	at = len(dst)
	dst = append(dst, 0, 0, 0, 0)
	if e.UserInfo != nil {
		dst = appendUser(dst, e.UserInfo)
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return AppendEvent(dst, &e.Event)
}

// ReadRecord reads what AppendRecord wrote, as EnrichedReader does.
func (e *Enriched) ReadRecord(r *wire.Reader) { (&EnrichedReader{}).Read(r, e) }

// mostRead bounds what an EnrichedReader remembers of each kind.
const mostRead = 1 << 15

// EnrichedReader reads events from another process. It remembers the items, users
// and types that it has read, so that those that repeat take no memory of their
// own. The zero value is ready; it is not for several goroutines.
type EnrichedReader struct {
	items map[string]*Item
	users map[string]*User
	types map[string]string
	names Names
	item  *Item // that of the event that is read
}

// Read reads what Enriched.AppendRecord wrote, over whatever e was. A failure is
// left in r; Metadata is part of the reader's input.
func (x *EnrichedReader) Read(r *wire.Reader, e *Enriched) {
	if x.types == nil {
		x.items, x.users, x.types = map[string]*Item{}, map[string]*User{}, map[string]string{}
		x.names = Names{Item: x.itemName, Type: x.typeName}
	}
	x.item = readKnown(r, x.items, readItem)
	user := readKnown(r, x.users, readUser)
	ReadEvent(r, &e.Event, &x.names)
	e.ItemInfo, e.UserInfo, e.Row = x.item, user, 0
}

// readKnown reads what the catalogue knew, nil if nothing.
func readKnown[T any](r *wire.Reader, seen map[string]*T, read func(*wire.Reader) *T) *T {
	var b []byte
	if head := r.Take(4); head != nil {
		b = r.Take(int(binary.LittleEndian.Uint32(head)))
	}
	if len(b) == 0 {
		return nil
	}
	if v, ok := seen[string(b)]; ok {
		return v
	}
	in := wire.NewReader(b)
	v := read(in)
	if err := in.End(); err != nil {
		r.Fail(err)
		return nil
	}
	if len(seen) == mostRead {
		clear(seen)
	}
	seen[string(b)] = v
	return v
}

func (x *EnrichedReader) itemName(b []byte) string {
	if x.item != nil && x.item.ID == string(b) {
		return x.item.ID
	}
	return string(b)
}

func (x *EnrichedReader) typeName(b []byte) string {
	name, ok := x.types[string(b)]
	if !ok {
		if len(x.types) == mostRead {
			clear(x.types)
		}
		name = string(b)
		x.types[name] = name
	}
	return name
}

// AppendChange appends the stored form of a catalogue change: version, kind,
// then the record, or its ID alone for a deletion. The kind must be one of the
// catalogue changes and its record must be set.
func AppendChange(dst []byte, c *Change) []byte {
	dst = append(dst, changeVersion, byte(c.Kind))
	switch c.Kind {
	case PutItem, EnsureItem:
		return appendItem(dst, c.Item)
	case PutUser, EnsureUser:
		return appendUser(dst, c.User)
	case DeleteItem:
		return wire.AppendString(dst, c.Item.ID)
	case DeleteUser:
		return wire.AppendString(dst, c.User.ID)
	}
	panic("event: AppendChange of an unknown kind of change")
}

// ReadChange reads what AppendChange wrote. Nothing in the change is part of
// the reader's input. A failure is left in r: wire.ErrCorrupt or ErrVersion,
// and the change is then zero.
func ReadChange(r *wire.Reader) Change {
	if !readVersion(r, changeVersion) {
		return Change{}
	}
	c := Change{Kind: ChangeKind(r.Byte())}
	switch c.Kind {
	case PutItem, EnsureItem:
		c.Item = readItem(r)
	case PutUser, EnsureUser:
		c.User = readUser(r)
	case DeleteItem:
		c.Item = &Item{ID: r.String()}
	case DeleteUser:
		c.User = &User{ID: r.String()}
	default:
		r.Fail(wire.ErrCorrupt)
	}
	if r.Err() != nil {
		return Change{}
	}
	return c
}

func appendItem(dst []byte, item *Item) []byte {
	dst = wire.AppendString(dst, item.ID)
	dst = wire.AppendString(dst, item.Title)
	dst = wire.AppendStrings(dst, item.Categories)
	dst = wire.AppendStrings(dst, item.Tags)
	dst = wire.AppendBool(dst, item.Hidden)
	dst = wire.AppendVarint(dst, int64(item.Created))
	return wire.AppendBytes(dst, item.Metadata)
}

func readItem(r *wire.Reader) *Item {
	item := &Item{
		ID:         r.String(),
		Title:      r.String(),
		Categories: r.Strings(),
		Tags:       r.Strings(),
		Hidden:     r.Bool(),
		Created:    Time(r.Varint()),
	}
	if b := r.Bytes(); len(b) > 0 {
		item.Metadata = append([]byte(nil), b...)
	}
	return item
}

func appendUser(dst []byte, user *User) []byte {
	dst = wire.AppendString(dst, user.ID)
	dst = wire.AppendVarint(dst, int64(user.Age))
	dst = wire.AppendString(dst, user.Gender)
	return wire.AppendStrings(dst, user.Labels)
}

func readUser(r *wire.Reader) *User {
	return &User{
		ID:     r.String(),
		Age:    int(r.Varint()),
		Gender: r.String(),
		Labels: r.Strings(),
	}
}
