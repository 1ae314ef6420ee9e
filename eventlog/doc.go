// Package eventlog is the durable, replayable log of blocks: everything that
// changes an answer is a record in it, in one total order.
//
// A block is the unit of everything: it is appended, synced and acknowledged
// as a whole, processed as one atomic step, and read back bit for bit. Blocks
// are numbered from 1 without gaps and kept in Pebble, one checksummed value
// each, under sequential keys. README.md beside this file describes the
// format, the guarantees and what a crash can leave.
//
// Log stores and reads blocks; Appender joins what arrives at the same time
// into blocks and commits them together; Redact takes a deleted user out of
// the blocks that are already stored; AppendDeadLetters and DeadLetters keep
// the input that was refused.
package eventlog
