package checkpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"millrace/state"
)

// Load calls load for every key of the latest checkpoint. Stages that the
// topology does not have, of whose keys load says state.ErrStageMissing, are
// dropped where they are stored, if that is allowed, so that a later program
// that has such a stage again does not go on from what has become stale;
// otherwise they are an error, state.ErrStageMissing with their names.
func Load(backend state.Backend, allow bool, logger *slog.Logger, load func(stage string, key, value []byte) error) error {
	orphans := map[string]int{} // keys, by stage
	err := backend.Load(func(stage string, key, value []byte) error {
		err := load(stage, key, value)
		if errors.Is(err, state.ErrStageMissing) {
			orphans[stage]++
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	var list []string
	for _, stage := range slices.Sorted(maps.Keys(orphans)) {
		list = append(list, fmt.Sprintf("%s (keys: %d)", stage, orphans[stage]))
		if !allow {
			continue
		}
		if err := backend.Drop(stage); err != nil {
			return fmt.Errorf("drop the state of stage %s: %w", stage, err)
		}
		logger.Warn("the state of a stage that the program does not have is dropped", "stage", stage, "keys", orphans[stage])
	}
	if len(list) > 0 && !allow {
		return fmt.Errorf("%w: %s", state.ErrStageMissing, strings.Join(list, ", "))
	}
	return nil
}
