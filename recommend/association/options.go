package association

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/pairs"
)

// The names of stages, ports and views.
const (
	StageWindows      = "association.windows"
	StageAssociation  = "association"
	StageCooccurrence = "cooccurrence"
	StageNeighbors    = "neighbors"

	PortLed          = "led"          // of StageWindows: Led
	PortLate         = "late"         // of StageWindows: Late
	PortAssociations = "associations" // of StageAssociation: Association

	ViewAssociations = "associations" // by item: *Associations
	ViewNeighbors    = StageNeighbors // by item: *pairs.Partners
)

// ErrOptions is the error of options that cannot be used.
var ErrOptions = errors.New("association: invalid options")

// Options of the association job and of the neighbours.
type Options struct {
	// Window is the length of the job's windows, in milliseconds.
	Window event.Duration `json:"window_ms"`
	// ProcessingTime has windows go by the time at which events arrived, as the
	// seeds' job can, instead of by the time that they have. Nothing is late then.
	ProcessingTime bool `json:"processing_time,omitempty"`
	// Items is how many distinct items of a user a window counts.
	Items int `json:"items"`
	// Windows is how many windows of an item the view sums up.
	Windows int `json:"windows"`
	// Partners is how many partners of an item count there of each window.
	Partners int `json:"partners"`
	// Top is how many partners the view holds.
	Top int `json:"top"`

	Neighbors NeighborOptions `json:"neighbors"`
}

// NeighborOptions are the options of the neighbours.
type NeighborOptions struct {
	// Items is how many earlier items of a user are an item's neighbours.
	Items int `json:"items"`
	// Rows shape what is kept of an item's neighbours.
	Rows pairs.Options `json:"rows"`
}

// Defaults are windows of 5 minutes of up to 100 items, the top 20 of 100
// partners over 12 windows, and neighbours among 10 items in rows of
// pairs.Defaults.
func Defaults() Options {
	return Options{
		Window: 5 * event.Minute, Items: 100, Windows: 12, Partners: 100, Top: 20,
		Neighbors: NeighborOptions{Items: 10, Rows: pairs.Defaults()},
	}
}

func (o NeighborOptions) trail() pairs.TrailOptions { return pairs.TrailOptions{Items: o.Items} }

// Validate returns an ErrOptions, or a pairs.ErrOptions for the neighbours,
// that says what is wrong, or nil.
func (o Options) Validate() error {
	if o.Window < event.Second || o.Window > 366*event.Day {
		return fmt.Errorf("%w: window_ms is %d, expected %d to %d", ErrOptions, o.Window, event.Second, 366*event.Day)
	}
	for _, b := range []struct {
		name            string
		is, least, most int
	}{
		{"items", o.Items, 2, 10_000}, {"windows", o.Windows, 1, 1000},
		{"partners", o.Partners, 1, 10_000}, {"top", o.Top, 1, 10_000},
	} {
		if b.is < b.least || b.is > b.most {
			return fmt.Errorf("%w: %s is %d, expected %d to %d", ErrOptions, b.name, b.is, b.least, b.most)
		}
	}
	if err := o.Neighbors.trail().Validate(); err != nil {
		return fmt.Errorf("association: neighbors: %w", err)
	}
	if err := o.Neighbors.Rows.Validate(); err != nil {
		return fmt.Errorf("association: neighbors: rows: %w", err)
	}
	return nil
}

// Handles are the stages that Add adds.
type Handles struct {
	Windows     operator.Handle // ports PortLed and PortLate
	Association operator.Handle // port PortAssociations
	Neighbors   pairs.Handles
}

// Add adds the stages to the cleaned events, which a stage keyed by user
// emits. It panics if the options are not valid.
func Add(in operator.Stream[event.Enriched], types *event.Types, o Options) Handles {
	if err := o.Validate(); err != nil {
		panic(err)
	}
	var h Handles
	h.Windows = addWindows(in, o)
	h.Association = addSums(operator.From[Led](h.Windows, PortLed), o)
	h.Neighbors = pairs.Add(in, StageCooccurrence, StageNeighbors, types, o.Neighbors.trail(), o.Neighbors.Rows)
	return h
}
