package rank

import (
	"errors"
	"fmt"
)

// Source is where a candidate comes from.
type source int

// The sources, in the order in which they break ties for the reason.
const (
	fromNeighbors source = iota // bought, watched, clicked together with the user's recent items
	fromSequence                // what tends to follow the user's latest items
	fromInterests               // hot in the categories that the user likes
	fromCohort                  // hot with people of the same age band and gender
	fromTrending                // hot with everybody
	fromNew                     // new in the catalogue
	fromOwn                     // what the user has had before
	sources
)

var sourceNames = [sources]string{"neighbors", "sequence", "interests", "cohort", "trending", "new", "own"}

// Weights are what each source counts for. A weight of 0 turns a source off.
type Weights struct {
	Neighbors float64 `yaml:"neighbors"`
	Sequence  float64 `yaml:"sequence"`
	Interests float64 `yaml:"interests"`
	Cohort    float64 `yaml:"cohort"`
	Trending  float64 `yaml:"trending"`
	New       float64 `yaml:"new"`
	// Own counts only where seen items are not excluded.
	Own float64 `yaml:"own"`
	// Exploration is the share of a list that is reserved for new items, 0 to 1.
	Exploration float64 `yaml:"exploration"`
}

// ErrWeights is the error of weights that can not be.
var ErrWeights = errors.New("invalid weights")

// Validate returns an ErrWeights unless all weights are 0 to 100, at least one
// of them is more than 0, and the exploration is 0 to 1.
func (w Weights) Validate() error {
	sum := 0.0
	for s, v := range w.list() {
		if !(v >= 0 && v <= 100) {
			return fmt.Errorf("%w: %s is %v, want 0 to 100", ErrWeights, sourceNames[s], v)
		}
		sum += v
	}
	if sum == 0 || !(w.Exploration >= 0 && w.Exploration <= 1) {
		return fmt.Errorf("%w: want a weight above 0, and an exploration of 0 to 1", ErrWeights)
	}
	return nil
}

// DefaultWeights is the fixed blend: what follows and what goes together lead,
// the user's categories and cohort come next, and what is trending fills up,
// so that it decides where nothing else is known. One place in ten is for new
// items.
func DefaultWeights() Weights {
	return Weights{
		Neighbors: 1, Sequence: 0.8, Interests: 0.25, Cohort: 0.12, Trending: 0.1, New: 0.02, Own: 0.5,
		Exploration: 0.1,
	}
}

func (w Weights) list() [sources]float64 {
	return [sources]float64{w.Neighbors, w.Sequence, w.Interests, w.Cohort, w.Trending, w.New, w.Own}
}
