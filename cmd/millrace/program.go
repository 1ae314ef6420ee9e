package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"millrace/cmd/millrace/kafkasource"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/operator/watermark"
	"millrace/recommend"
	"millrace/recommend/clean"
	"millrace/source/kafka"
)

// programVersion is the version of the configuration record's form.
const programVersion = 1

// programRecord is the part of the configuration that changes answers. It is
// a record of the log, so that a replay runs with what the live stream ran.
type programRecord struct {
	Version        int                 `json:"version"`
	EventTypes     json.RawMessage     `json:"event_types"`
	Watermark      string              `json:"watermark,omitempty"`   // empty is bounded
	Punctuation    string              `json:"punctuation,omitempty"` // the type of events that are marks
	OutOfOrderness event.Duration      `json:"out_of_orderness_ms"`
	Partitions     *kafkasource.Record `json:"partitions,omitempty"` // of Kafka's topics
	Operators      recommend.Options   `json:"operators"`
}

// programConfig is the configuration record of a configuration: the same
// bytes for the same settings.
func programConfig(c config) ([]byte, error) {
	types, err := event.NewTypes(c.EventTypes)
	if err != nil {
		return nil, fmt.Errorf("configuration: event_types: %w", err)
	}
	r := programRecord{
		Version: programVersion, EventTypes: types.Encode(),
		OutOfOrderness: event.Duration(c.OutOfOrderness.Milliseconds()),
		Partitions:     kafkasource.RecordOf(&c.Kafka),
		Operators:      c.operators(),
	}
	if c.Watermark != watermarkBounded {
		r.Watermark = c.Watermark
	}
	if r.Punctuation = c.Punctuation; r.Punctuation != "" && !types.Has(r.Punctuation) {
		return nil, fmt.Errorf("configuration: punctuation: want one of %s, got %q", strings.Join(types.Names(), ", "), r.Punctuation)
	}
	return json.Marshal(r)
}

// strategy makes the strategy of the source's watermark.
func (r *programRecord) strategy() watermark.Strategy { return r.bounded(r.OutOfOrderness) }

// bounded makes the strategy with a bound of out-of-orderness.
func (r *programRecord) bounded(by event.Duration) watermark.Strategy {
	switch r.Watermark {
	case watermarkDynamic:
		return watermark.NewDynamic(by)
	case watermarkPunctuated:
		return watermark.NewPunctuated(nil)
	}
	return watermark.NewBoundedOutOfOrderness(by)
}

// isMark says whether an event is a punctuation mark.
func (r *programRecord) isMark(e *event.Event) bool { return e.Type == r.Punctuation }

// buildProgram makes what the engine runs of a configuration record.
func buildProgram(record []byte) (*embedded.Program, error) {
	var r programRecord
	if err := json.Unmarshal(record, &r); err != nil {
		return nil, fmt.Errorf("configuration record: %w", err)
	}
	if r.Version != programVersion {
		return nil, fmt.Errorf("configuration record of version %d: this release reads %d", r.Version, programVersion)
	}
	types, err := event.DecodeTypes(r.EventTypes)
	if err != nil {
		return nil, fmt.Errorf("configuration record: %w", err)
	}
	topology := recommend.Topology(types, r.Operators)
	return &embedded.Program{
		Topology: topology, Types: types, Watermarks: r.strategy, Punctuation: r.isMark,
		Partitions: r.Partitions.Partitions(r.bounded, r.OutOfOrderness),
	}, topology.Err()
}

// duplicates says where the engine learns which events were repeats.
func duplicates() embedded.Duplicates {
	return embedded.Duplicates{
		Stage: clean.StageName, Port: clean.PortDuplicates,
		Row: func(record any) int { return record.(*clean.Duplicate).Row },
	}
}

// validateSystems is validate for the sections of other systems.
func (c config) validateSystems(types *event.Types) error {
	if err := c.Kafka.Validate(types); err != nil {
		return err
	}
	if err := c.Publish.Validate(&c.Kafka.Config); err != nil {
		return err
	}
	if err := c.Collect.Validate(types); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := c.Catalog.Validate("catalog"); err != nil {
		return err
	}
	if err := c.Import.Validate(); err != nil {
		return err
	}
	if err := c.Likes.Validate(types, &c.Kafka.Config); err != nil {
		return err
	}
	if c.Catalog.Shared && (!c.Kafka.Enabled() || c.Kafka.Tombstones != kafka.TombstoneDelete) {
		return errors.New("configuration: catalog.shared: want kafka.brokers, and kafka.tombstones: delete, as deletions of users and items go to the topic of events")
	}
	if err := c.Redis.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}
