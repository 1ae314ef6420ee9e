// Package recommendtest measures operators: synthetic traffic of shoppers
// with sessions, MovieLens where it is at hand, and a bare block engine to run
// them through. It is for benchmarks only.
package recommendtest
