package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// The errors of CheckListen.
var (
	// ErrNeedsKey is the error of an address that others can reach, without a
	// key that would keep them out.
	ErrNeedsKey = errors.New("an API key is needed to listen on this address")
	// ErrAddress is the error of an address that is not HOST:PORT.
	ErrAddress = errors.New("invalid address to listen on")
)

// CheckListen says whether a server may listen on the address, HOST:PORT: on
// a loopback address always, on any other, and on all of them, only with
// keys. It looks no name up but localhost, so it refuses other names without
// keys.
func CheckListen(address string, keys Keys) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%w: %q: expected HOST:PORT such as 127.0.0.1:8080", ErrAddress, address)
	}
	if keys.Set() || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("%w: %s can be reached from other machines; configure one (keys, MILLRACE_KEYS), or listen on 127.0.0.1", ErrNeedsKey, address)
}

// isLoopback says whether a host, without a port, is this machine for sure.
func isLoopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return true
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
