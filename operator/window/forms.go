package window

import (
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// Reduce adds a window stage that reduces the inputs of a window to one: the
// accumulator is an input, and spec.Merge makes one of two. spec.Add is not
// used. Without spec.Result what is left of the inputs is emitted as it is, if
// O is I.
func Reduce[K operator.Key, I, O any](in operator.Stream[I], spec Spec[K, I, I, O]) operator.Handle {
	merge, of, result := spec.Merge, spec.Accumulator, spec.Result
	if result == nil {
		var same any = func(_ Window[K], v *I, emit func(I)) { emit(*v) }
		result, _ = same.(func(Window[K], *I, func(O)))
	}
	all := respec[K, I, I, reduced[I], O](spec)
	if merge != nil {
		all.Add = func(a *reduced[I], in *I) { a.add(in, merge) }
		all.Merge = func(into, from *reduced[I]) {
			if from.any {
				into.add(&from.of, merge)
			}
		}
	}
	if result != nil {
		all.Result = func(w Window[K], a *reduced[I], emit func(O)) { result(w, &a.of, emit) }
	}
	if of.Append != nil && of.Load != nil {
		all.Accumulator = codec.Codec[reduced[I]]{
			Append: func(dst []byte, a *reduced[I]) []byte {
				if dst = wire.AppendBool(dst, a.any); a.any {
					dst = of.Append(dst, &a.of)
				}
				return dst
			},
			Load: func(r *wire.Reader, a *reduced[I]) {
				if a.any = r.Bool(); a.any {
					of.Load(r, &a.of)
				}
			},
		}
	}
	return Add(in, all)
}

// reduced is what inputs were reduced to, if there were any.
type reduced[I any] struct {
	of  I
	any bool
}

func (a *reduced[I]) add(in *I, merge func(into, from *I)) {
	if !a.any {
		a.of, a.any = *in, true
		return
	}
	merge(&a.of, in)
}

// Collect adds a window stage that keeps all inputs of a window: the
// accumulator is the list of them, of which each is stored as of says, and
// spec.Result gets all. spec.Add, Merge and Accumulator are not used.
//
// A stage that reads a single partition of the source has them in the order in
// which they came, those of a sliding window pane by pane. Others have no order
// to rely on.
func Collect[K operator.Key, I, O any](in operator.Stream[I], of codec.Codec[I], spec Spec[K, I, []I, O]) operator.Handle {
	spec.Add = func(list *[]I, in *I) { *list = append(*list, *in) }
	spec.Merge = func(into, from *[]I) { *into = append(*into, *from...) }
	spec.Accumulator = codec.Codec[[]I]{}
	if of.Append != nil && of.Load != nil {
		spec.Accumulator = codec.List(of)
	}
	return Add(in, spec)
}

// Whole adds a stage of windows of the whole stream, whatever the keys: the
// inputs are added up where they are, on every shard, and only what they come
// to crosses the exchange. It needs spec.Merge, and tumbling or sliding windows
// in event time without a trigger. spec.Key is not used.
func Whole[I, A, O any](in operator.Stream[I], spec Spec[uint64, I, A, O]) operator.Handle {
	spec.Key, spec.Combine = func(*I) uint64 { return 0 }, true
	return Add(in, spec)
}

// respec is a specification without what depends on the accumulator.
func respec[K operator.Key, I, A, B, O any](s Spec[K, I, A, O]) Spec[K, I, B, O] {
	return Spec[K, I, B, O]{
		Name: s.Name, Subject: s.Subject, Version: s.Version, Parallelism: s.Parallelism,
		Key: s.Key, Windows: s.Windows, More: s.More, ProcessingTime: s.ProcessingTime, Lateness: s.Lateness,
		Trigger: s.Trigger, Combine: s.Combine,
	}
}
