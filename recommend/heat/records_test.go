package heat

import (
	"testing"

	"millrace/operator/codec/codectest"
)

// What crosses to another process arrives as it was sent.
func TestRecordsCross(t *testing.T) {
	codectest.RoundTrip(t, impulseCodec())
	codectest.RoundTrip(t, warmCodec())
	codectest.RoundTrip(t, beatCodec())
}
