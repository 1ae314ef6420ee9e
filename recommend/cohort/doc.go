// Package cohort is what groups of users like: the preference for each category,
// or genre, by age band, by gender, and by both together.
//
// An event of a positive weight by a user of whom the catalogue knew the age or
// the gender at that point of the log counts for each category of its item, in
// each cohort that the user is in (heat.CohortScopes): with its weight, which
// halves every 30 days (decay.Sum). A category's share is its part of the sum of
// all categories of the cohort.
//
// # Stages
//
//	tastes   by user    makes tastes of an event (no state)
//	cohort   by cohort  sums tastes; view "cohort"; publishes to the topic "preferences"
//
// Tastes of one cohort and category are merged before they cross the exchange.
// Sums commute.
//
// # What is published
//
// The view has every event at once. What is published has a grid of event time,
// of Options.Interval: once the watermark is at a moment of the grid, every cohort
// that has changed in the part before it is published, as of that moment: of
// events that count at their effective time (operator.Meta.Effective) before it
// and of no other. Those that come early are held apart. So what is published, and
// how often, depends on the events and their order only: neither on shards, nor on
// blocks, nor on the engine.
//
// Memory: a cohort keeps about 100 bytes for each category, and about 100 for each
// that is not published yet.
package cohort
