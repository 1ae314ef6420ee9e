// Package rank answers a request for recommendations by reading the views:
// it gathers candidates from several sources, scores them with a fixed blend,
// applies the rules and says why.
//
// A source gives each candidate a strength; the strengths of one source are
// scaled so that its strongest candidate has 1, multiplied by the source's
// weight (see Weights), and summed over the sources. What contributed most
// becomes the reason. Nothing is random: the same snapshot and the same
// request give the same list.
//
// Ranking never writes and keeps nothing between requests.
package rank
