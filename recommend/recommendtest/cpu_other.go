//go:build !unix

package recommendtest

// cpu is not known here.
func cpu() int64 { return 0 }
