package checkpoint

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"millrace/state"
)

// Orphans are the stages of a checkpoint that the topology does not have, with
// how many keys each has. The zero value has none.
type Orphans map[string]int

// Add counts a key of a stage.
func (o *Orphans) Add(stage string) {
	if *o == nil {
		*o = Orphans{}
	}
	(*o)[stage]++
}

// Settle ends a recovery that has come across them: they are dropped where they
// are stored, if that is allowed, so that a later program that has such a stage
// again does not go on from what has become stale; otherwise they are an error,
// state.ErrStageMissing.
func (o Orphans) Settle(backend state.Backend, allow bool, logger *slog.Logger) error {
	var list []string
	for _, stage := range slices.Sorted(maps.Keys(o)) {
		list = append(list, fmt.Sprintf("%s (keys: %d)", stage, o[stage]))
		if !allow {
			continue
		}
		if err := backend.Drop(stage); err != nil {
			return fmt.Errorf("drop the state of stage %s: %w", stage, err)
		}
		logger.Warn("the state of a stage that the program does not have is dropped", "stage", stage, "keys", o[stage])
	}
	if len(list) > 0 && !allow {
		return fmt.Errorf("%w: %s", state.ErrStageMissing, strings.Join(list, ", "))
	}
	return nil
}
