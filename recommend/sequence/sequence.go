package sequence

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/pairs"
)

// The names of the stages. The view has the name of the stage that writes it.
const (
	StageSteps    = "steps"
	StageSequence = "sequence"
	View          = StageSequence // by item: pairs.Partners
)

// Options of the stages.
type Options struct {
	// Items is how many earlier items of a user an item may follow.
	Items int `json:"items"`
	// MaxGap is the longest time between an item and one that follows it, in
	// milliseconds.
	MaxGap event.Duration `json:"max_gap_ms"`
	// Rows shape what is kept of an item's followers.
	Rows pairs.Options `json:"rows"`
}

// Defaults are 5 items, 24 hours, and the rows of pairs.Defaults with the
// top 50 followers.
func Defaults() Options {
	o := Options{Items: 5, MaxGap: event.Day, Rows: pairs.Defaults()}
	o.Rows.Top = 50
	return o
}

// trail is the options as package pairs wants them.
func (o Options) trail() pairs.TrailOptions {
	return pairs.TrailOptions{Items: o.Items, Directed: true, MaxGap: o.MaxGap}
}

// Validate returns a pairs.ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	if err := o.trail().Validate(); err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	if err := o.Rows.Validate(); err != nil {
		return fmt.Errorf("sequence: rows: %w", err)
	}
	return nil
}

// Add adds the stages to the cleaned events, which a stage keyed by user
// emits. It panics if the options are not valid.
func Add(in operator.Stream[event.Enriched], types *event.Types, o Options) pairs.Handles {
	return pairs.Add(in, StageSteps, StageSequence, types, o.trail(), o.Rows)
}
