// Package operator is the contract between what is computed and who runs it.
//
// An operator is a pure fold: given a key, that key's state, one input and
// the event time, it changes the state, emits records downstream, writes to
// views and sets timers. It has no clock, no randomness, no I/O, no
// goroutine and no dependence on map order; a tie is broken by external id.
// Everything that it knows arrives as an argument, so it can be replayed,
// simulated, killed and compared, and it cannot tell which engine runs it.
//
// A Topology wires operators into stages. A stage that reads the source, or a
// chain of stages with the same key, sees the records of a key in the order
// of the source ("ordered"). A stage behind an exchange sees the records of a
// key in any order: its fold must commute. Integer or fixed-point sums,
// maxima that carry their time, and pruning on timers commute; floats added
// in arrival order do not.
//
// Timers are set for times that the watermark has not passed, from
// Meta.Effective of the record on (Context.SetTimer says why).
package operator
