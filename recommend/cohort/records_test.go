package cohort

import (
	"testing"

	"millrace/operator/codec/codectest"
)

// What crosses to another process arrives as it was sent.
func TestRecordsCross(t *testing.T) { codectest.RoundTrip(t, tasteCodec()) }
