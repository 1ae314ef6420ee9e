//go:build amd64 || arm64

// Package prefetch asks the processor for memory that will be read soon, so
// that the waits for several places overlap. It changes nothing but time.
package prefetch

import "unsafe"

// Line asks for the cache line of an address, which may be any, nil too.
//
//go:noescape
func Line(p unsafe.Pointer)
