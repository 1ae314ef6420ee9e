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
			for _, a := range i.Amounts {
				dst = wire.AppendUvarint(wire.AppendVarint(dst, a.Epoch), a.Units)
			}
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
			for k := range i.Amounts {
				i.Amounts[k] = decay.Amount{Epoch: r.Varint(), Units: r.Uvarint()}
			}
			i.Events, i.Time = r.Varint(), event.Time(r.Varint())
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
