package association

import (
	"math"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator/codec"
)

// ledCodec is how what a window says crosses to another process.
func ledCodec() *codec.Codec[Led] {
	text := codec.Interned[string]()
	readCount := func(r *wire.Reader) uint32 {
		n := r.Uvarint()
		if n > math.MaxUint32 {
			r.Fail(wire.ErrCorrupt)
		}
		return uint32(n)
	}
	return &codec.Codec[Led]{
		Append: func(dst []byte, l *Led) []byte {
			dst = wire.AppendString(wire.AppendVarint(dst, int64(l.WindowStart)), l.Item)
			dst = wire.AppendUvarint(wire.AppendUvarint(dst, uint64(l.Count)), uint64(len(l.After)))
			for i := range l.After {
				dst = wire.AppendUvarint(wire.AppendString(dst, l.After[i].Item), uint64(l.After[i].Count))
			}
			return dst
		},
		Load: func(r *wire.Reader, l *Led) {
			l.WindowStart = event.Time(r.Varint())
			text.Load(r, &l.Item)
			l.Count = readCount(r)
			if n := r.Count(); n > 0 {
				l.After = make([]Counted, n)
			}
			for i := range l.After {
				text.Load(r, &l.After[i].Item)
				l.After[i].Count = readCount(r)
			}
		},
	}
}
