package heat

import (
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator/codec"
	"millrace/recommend/decay"
)

// impulseCodec is how impulses cross to another process.
func impulseCodec() *codec.Codec[impulse] {
	text := codec.Interned[string]()
	return &codec.Codec[impulse]{
		Append: func(dst []byte, i *impulse) []byte {
			dst = wire.AppendString(dst, i.Item)
			dst = wire.AppendStrings(dst, i.Categories)
			dst = wire.AppendString(wire.AppendString(dst, i.Age), i.Gender)
			dst = appendAmounts(dst, &i.Amounts)
			return wire.AppendVarint(wire.AppendVarint(dst, i.Events), int64(i.Time))
		},
		Load: func(r *wire.Reader, i *impulse) {
			text.Load(r, &i.Item)
			if n := r.Count(); n > 0 {
				i.Categories = make([]string, n)
				for k := range i.Categories {
					text.Load(r, &i.Categories[k])
				}
			}
			text.Load(r, &i.Age)
			text.Load(r, &i.Gender)
			readAmounts(r, &i.Amounts)
			i.Events, i.Time = r.Varint(), event.Time(r.Varint())
		},
	}
}

func appendAmounts(dst []byte, list *[halfLives]decay.Amount) []byte {
	for _, a := range list {
		dst = wire.AppendUvarint(wire.AppendVarint(dst, a.Epoch), a.Units)
	}
	return dst
}

func readAmounts(r *wire.Reader, list *[halfLives]decay.Amount) {
	for k := range list {
		list[k] = decay.Amount{Epoch: r.Varint(), Units: r.Uvarint()}
	}
}

// beatCodec is how what is to be published crosses to another process.
func beatCodec() *codec.Codec[beat] {
	text := codec.Interned[string]()
	return &codec.Codec[beat]{
		Append: func(dst []byte, b *beat) []byte {
			dst = wire.AppendVarint(wire.AppendString(dst, b.Item), int64(b.Due))
			return wire.AppendVarint(appendAmounts(dst, &b.Amounts), b.Events)
		},
		Load: func(r *wire.Reader, b *beat) {
			text.Load(r, &b.Item)
			b.Due = event.Time(r.Varint())
			readAmounts(r, &b.Amounts)
			b.Events = r.Varint()
		},
	}
}

// warmCodec is how an item's heat crosses to another process.
func warmCodec() *codec.Codec[warm] {
	text := codec.Interned[string]()
	return &codec.Codec[warm]{
		Append: func(dst []byte, w *warm) []byte {
			dst = wire.AppendString(wire.AppendString(dst, w.Scope), w.Item)
			for _, v := range w.Heat {
				dst = wire.AppendUint64(dst, uint64(v))
			}
			return wire.AppendVarint(dst, int64(w.Last))
		},
		Load: func(r *wire.Reader, w *warm) {
			text.Load(r, &w.Scope)
			text.Load(r, &w.Item)
			for k := range w.Heat {
				w.Heat[k] = decay.Value(r.Uint64())
			}
			w.Last = event.Time(r.Varint())
		},
	}
}
