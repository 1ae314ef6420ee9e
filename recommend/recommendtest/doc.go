// Package recommendtest proves and measures operators: that they come to the
// same whatever way their records take (Equal), and what an event costs in
// blocks, on synthetic traffic of shoppers with sessions and on MovieLens
// where it is at hand (Measure). It is for tests only.
package recommendtest
