// Package guard decides which requests are answered at all: those that carry
// a key where keys are set, and otherwise those that come from this machine
// and were not sent by a page of somebody else.
package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"millrace/serve/problem"
)

// MinKeyBytes is the length of the shortest key that is accepted.
const MinKeyBytes = 8

// ErrKey is the error of a key that can not be used: one that is shorter than
// MinKeyBytes, or that a header can not carry.
var ErrKey = errors.New("unusable API key")

// Keys are the keys of which a request must carry one. Only their hashes are
// kept. The zero value asks for none.
type Keys struct {
	sums [][sha256.Size]byte
}

// NewKeys makes Keys. Its errors are ErrKey and never tell the key.
func NewKeys(keys []string) (Keys, error) {
	var k Keys
	for i, key := range keys {
		if len(key) < MinKeyBytes {
			return Keys{}, fmt.Errorf("%w: key %d has %d bytes, expected at least %d", ErrKey, i+1, len(key), MinKeyBytes)
		}
		for _, c := range []byte(key) {
			if c <= ' ' || c >= 0x7f {
				return Keys{}, fmt.Errorf("%w: key %d holds a space or a character that is not ASCII", ErrKey, i+1)
			}
		}
		k.sums = append(k.sums, sha256.Sum256([]byte(key)))
	}
	return k, nil
}

// Set says whether there are keys.
func (k Keys) Set() bool { return len(k.sums) > 0 }

// Allow says whether the request carries one of the keys: in X-API-Key, as a
// bearer token, or as the password of HTTP Basic, which is what a browser
// asks its user for. It takes as long for a wrong key as for a right one.
func (k Keys) Allow(r *http.Request) bool {
	if !k.Set() {
		return true
	}
	if key := r.Header.Get("X-API-Key"); key != "" && k.has(key) {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return k.has(strings.TrimSpace(token))
	}
	if _, password, ok := r.BasicAuth(); ok {
		return k.has(password)
	}
	return false
}

// has compares the hash with every key's, so that the time tells neither how
// much of a key was right nor which one it was.
func (k Keys) has(key string) bool {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for i := range k.sums {
		found |= subtle.ConstantTimeCompare(sum[:], k.sums[i][:])
	}
	return found == 1
}

// refusal is the answer to a request without a key.
func refusal() *problem.Problem {
	return problem.New(http.StatusUnauthorized,
		"an API key is needed: send it in the header X-API-Key, as Authorization: Bearer, or as the password of HTTP Basic").
		With("WWW-Authenticate", `Bearer realm="millrace"`).
		With("WWW-Authenticate", `Basic realm="millrace", charset="UTF-8"`)
}
