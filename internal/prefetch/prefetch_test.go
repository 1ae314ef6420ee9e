package prefetch_test

import (
	"testing"
	"unsafe"

	"millrace/internal/prefetch"
)

// Any address will do, and nothing is changed.
func TestLine(t *testing.T) {
	x := 42
	prefetch.Line(unsafe.Pointer(&x))
	prefetch.Line(nil)
	if x != 42 {
		t.Error(x)
	}
}
