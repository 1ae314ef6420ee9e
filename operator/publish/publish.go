// Package publish is how results leave an engine for other systems: a stage
// declares an output port of Records, and an engine that has somewhere to send
// them taps every such port of a topology. To the operator it is a port like
// any other: on an engine that publishes nothing it is not connected, and what
// is emitted costs nothing.
package publish

import "encoding/json"

// Record is one result on its way out of an engine.
//
// Records of one topic and key leave in the order in which they were emitted.
// That order is the same for any number of shards if all records of a topic and
// key are emitted for one key of one stage: a stage should use its own key, or
// something that its key decides. It does not depend on where blocks end either
// if the stage is operator.Node.Ordered and emits in Fold, or emits in timers
// what no later record can change.
type Record struct {
	// Topic is the name of the result, without the prefix that a sink puts
	// before it. See Topic.
	Topic string `json:"topic"`
	// Key orders records: an external id or the like.
	Key string `json:"key"`
	// Value must not change once it was emitted.
	Value json.RawMessage `json:"value"`
}

// Bytes is about how much memory the record takes.
func (r *Record) Bytes() int { return recordBytes + len(r.Key) + len(r.Value) }

// recordBytes is what a Record takes besides its key and value; topics are shared.
const recordBytes = 56

// TopicPart is text as a part of a topic's name: what a name may not hold, and the
// dots that separate parts, are underscores. An empty part is one too.
func TopicPart(text string) string {
	if text == "" {
		return "_"
	}
	part := []byte(text)
	for i, c := range part {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		default:
			part[i] = '_'
		}
	}
	return string(part)
}
