package reference

import (
	"millrace/event"
	"millrace/event/wire"
	"millrace/internal/splitmix"
	"millrace/operator"
)

// Hash adds a field to the hash of a row, which begins with the tag of the job.
func Hash(x, field uint64) uint64 { return splitmix.Mix((x ^ field) + splitmix.Gamma) }

// Digest is what the rows of a job come to, in any order: how many there are,
// and the wrapping sum of their hashes.
type Digest struct{ Rows, Sum uint64 }

// AppendBinary makes a Digest an answer of a view.
func (d *Digest) AppendBinary(dst []byte) ([]byte, error) {
	return wire.AppendUint64(wire.AppendUint64(dst, d.Rows), d.Sum), nil
}

// ViewDigest is the view with the digest of a job, under the key DigestKey.
const (
	ViewDigest = "digest"
	DigestKey  = "all"
	// StageDigest is the stage that writes it.
	StageDigest = "digest"
)

// sink adds the stage that digests rows, each of which hash is the hash of. A
// shard's rows are added up before they cross the exchange.
func sink[T any](rows operator.Stream[T], hash func(*T) uint64) {
	sums := operator.Map(rows, func(in *T, out *Digest) { out.Rows, out.Sum = 1, hash(in) })
	operator.Add(sums, operator.Stage[string, Digest, Digest]{
		Name: StageDigest, Version: 1,
		Key: func(*Digest) string { return DigestKey },
		New: func(p *operator.Ports) operator.Operator[string, Digest, Digest] {
			return &digest{view: operator.View[*Digest](p, ViewDigest)}
		},
		Combine: &operator.Combiner[Digest]{
			Hash:  func(*Digest) uint64 { return 0 },
			Merge: func(into, in *Digest) bool { into.add(in); return true },
		},
	})
}

func (d *Digest) add(in *Digest) {
	d.Rows += in.Rows
	d.Sum += in.Sum
}

// digest is the operator that adds up digests.
type digest struct{ view *operator.ViewPort[*Digest] }

// Fold adds a digest.
func (*digest) Fold(_ *operator.Context, _ string, s *Digest, in *Digest) { s.add(in) }

// Timer is never called.
func (*digest) Timer(*operator.Context, string, *Digest, event.Time) {}

// Answer shows the digest.
func (o *digest) Answer(key string, s *Digest) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	d := *s
	o.view.Put(key, &d)
}

// Append writes both numbers.
func (*digest) Append(dst []byte, s *Digest) []byte {
	return wire.AppendUint64(wire.AppendUint64(dst, s.Rows), s.Sum)
}

// Load reads them.
func (*digest) Load(_ uint8, src []byte, s *Digest) error {
	r := wire.NewReader(src)
	s.Rows, s.Sum = r.Uint64(), r.Uint64()
	return r.Err()
}
