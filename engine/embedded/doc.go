// Package embedded runs a topology of operators in this process, block by
// block of the event log.
//
// A block is an atomic step. Its events are stamped with the watermark that
// the source had before each of them, enriched with what the catalogue knew,
// and sent to the shards that own their keys; the shards fold in parallel,
// level by level of the topology, and the answers of all changed keys are
// published together. So readers see all of a block or none of it, and a
// replay of the same blocks with any number of shards is the same run.
//
// An engine that keeps up publishes every block. While others wait behind it,
// a block's answers may wait for theirs (Options.PublishInterval): a key that
// changes in each of them is then answered for once, which is what lets an
// engine that is behind catch up.
//
// A checkpoint is the state after a block. It is taken while later blocks are
// processed: a key that is about to change is encoded first, the others
// follow in slices of time between blocks. What was encoded is committed in
// one atomic write together with the number of the block; recovery loads it
// and replays the blocks after it.
package embedded
