package main

import (
	"encoding/json"
	"fmt"

	"millrace/engine/embedded"
	"millrace/event"
	"millrace/recommend"
	"millrace/recommend/clean"
)

// programVersion is the version of the configuration record's form.
const programVersion = 1

// programRecord is the part of the configuration that changes answers. It is
// a record of the log, so that a replay runs with what the live stream ran.
type programRecord struct {
	Version        int               `json:"version"`
	EventTypes     json.RawMessage   `json:"event_types"`
	OutOfOrderness event.Duration    `json:"out_of_orderness_ms"`
	Operators      recommend.Options `json:"operators"`
}

// programConfig is the configuration record of a configuration: the same
// bytes for the same settings.
func programConfig(c config) ([]byte, error) {
	types, err := event.NewTypes(c.EventTypes)
	if err != nil {
		return nil, fmt.Errorf("configuration: event_types: %w", err)
	}
	return json.Marshal(programRecord{
		Version: programVersion, EventTypes: types.Encode(),
		OutOfOrderness: event.Duration(c.OutOfOrderness.Milliseconds()),
		Operators:      recommend.Defaults(),
	})
}

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
	return &embedded.Program{Topology: topology, Types: types, OutOfOrderness: r.OutOfOrderness}, topology.Err()
}

// duplicates says where the engine learns which events were repeats.
func duplicates() embedded.Duplicates {
	return embedded.Duplicates{
		Stage: clean.StageName, Port: clean.PortDuplicates,
		Row: func(record any) int { return record.(*clean.Duplicate).Row },
	}
}
