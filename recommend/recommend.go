// Package recommend lists the operators of the product: what is computed, and
// the way that an event takes through it. Each operator has a folder of its
// own and one line here.
package recommend

import (
	"millrace/event"
	"millrace/operator"
	"millrace/recommend/activity"
	"millrace/recommend/association"
	"millrace/recommend/classify"
	"millrace/recommend/clean"
	"millrace/recommend/cohort"
	"millrace/recommend/heat"
	"millrace/recommend/profile"
	"millrace/recommend/sequence"
	"millrace/recommend/session"
)

// Options are the options of all operators. They are recorded in the log with
// the configuration, so that a replay computes what the live stream did.
type Options struct {
	Clean       clean.Options       `json:"clean"`
	Activity    activity.Options    `json:"activity"`
	Session     session.Options     `json:"session"`
	Profile     profile.Options     `json:"profile"`
	Association association.Options `json:"association"`
	Sequence    sequence.Options    `json:"sequence"`
	Heat        heat.Options        `json:"heat"`

	// The rest is left out unless it is asked for.
	Classify  *classify.Options  `json:"classify,omitempty"`
	Cohort    *cohort.Options    `json:"cohort,omitempty"`
	HeatIndex *heat.IndexOptions `json:"heat_index,omitempty"`
}

// Defaults are the options that are right unless somebody knows better.
func Defaults() Options {
	return Options{
		Clean: clean.Defaults(), Activity: activity.Defaults(), Session: session.Defaults(), Profile: profile.Defaults(),
		Association: association.Defaults(), Sequence: sequence.Defaults(), Heat: heat.Defaults(),
	}
}

// Topology wires the operators. Everything reads the events that clean lets
// pass, in the order of the source for each user.
func Topology(types *event.Types, o Options) *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	cleaned := operator.From[event.Enriched](clean.Add(events, o.Clean), clean.PortEvents)
	activity.Add(cleaned, o.Activity)
	session.Add(cleaned, o.Session)
	profile.Add(cleaned, o.Profile, types)
	association.Add(cleaned, types, o.Association)
	sequence.Add(cleaned, types, o.Sequence)
	hot := heat.Add(cleaned, types, o.Heat)
	if o.Classify != nil {
		classify.Add(cleaned, *o.Classify)
	}
	if o.Cohort != nil {
		cohort.Add(cleaned, types, *o.Cohort)
	}
	if o.HeatIndex != nil {
		heat.AddIndex(hot, *o.HeatIndex)
	}
	return t
}
