// Package recommendtest proves and measures operators: that they come to the
// same whatever way their records take (Equal), and what an event costs in
// blocks, on synthetic traffic of shoppers with sessions and on MovieLens
// where it is at hand (Measure); that what they store and answer is read back
// as it was written (ReadsBack, FuzzLoad, FuzzDecode). It is for tests only.
package recommendtest
