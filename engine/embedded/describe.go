package embedded

import (
	"fmt"

	"millrace/engine/eventclock"
	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

// StageState is what a checkpoint holds of a stage, or what form of state a
// stage of a program writes: then without Keys and Bytes.
type StageState struct {
	Name string
	// Version is the version of the state's format. Keys that were last
	// written by an earlier release may be in an older one.
	Version uint8
	Keys    uint64
	Bytes   uint64 // of keys and values, before any compression
}

// Description is what a checkpoint says of itself.
type Description struct {
	Block      uint64
	Time       event.Time // wall clock when it was taken
	StreamTime event.Time // MinTime before the first event
	Watermark  event.Time // MinTime if it is not known
	Events     uint64     // that count
	Config     []byte     // the configuration record
	Stages     []StageState
}

// catalogueVersion is the version of the catalogue's part of a checkpoint, whose
// entries have a version of their own.
const catalogueVersion = 1

// Stages are the stages of the program that a configuration record makes, and
// the engine's own, in the form that this release writes.
func Stages(build func(config []byte) (*Program, error), config []byte) ([]StageState, error) {
	list := []StageState{{Name: itemsStage, Version: catalogueVersion}, {Name: usersStage, Version: catalogueVersion}}
	if len(config) == 0 {
		return list, nil
	}
	program, err := build(config)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	for _, n := range program.Topology.Nodes() {
		list = append(list, StageState{Name: n.Name, Version: n.Version})
	}
	return list, nil
}

// Describe reads all of the latest checkpoint of a backend and says what is in
// it. build makes the program of its configuration, for the watermark, which is
// not known if it fails.
func Describe(backend state.Backend, build func(config []byte) (*Program, error)) (*Description, error) {
	latest, err := backend.Latest()
	if err != nil {
		return nil, err
	}
	m, err := parseMeta(latest)
	if err != nil {
		return nil, err
	}
	d := &Description{
		Block: latest.Block, Time: latest.Time, StreamTime: m.streamTime, Watermark: event.MinTime,
		Events: m.events - m.repeats, Config: m.config,
	}
	if program, err := build(m.config); err == nil && m.streamTime != event.MinTime {
		clock, err := eventclock.New().With(program.time())
		if err == nil {
			err = m.restoreTime(clock)
		}
		if err != nil {
			return nil, fmt.Errorf("watermark: %w", err)
		}
		d.Watermark = clock.Watermark()
	}
	err = backend.Load(func(stage string, key, value []byte) error {
		if n := len(d.Stages); n == 0 || d.Stages[n-1].Name != stage { // keys come by stage
			d.Stages = append(d.Stages, StageState{Name: stage})
		}
		s := &d.Stages[len(d.Stages)-1]
		s.Keys++
		s.Bytes += uint64(len(key) + len(value))
		if stage == itemsStage || stage == usersStage {
			s.Version = catalogueVersion
			return nil
		}
		h, _, err := operator.SplitState(value)
		if err != nil {
			return fmt.Errorf("stage %s, key %q: %w", stage, key, err)
		}
		s.Version = max(s.Version, h.Version)
		return nil
	})
	return d, err
}
