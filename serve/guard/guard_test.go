package guard

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheckListen(t *testing.T) {
	some, err := NewKeys([]string{"a-good-key"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		address string
		keys    Keys
		want    error
	}{
		{"127.0.0.1:8080", Keys{}, nil},
		{"127.8.9.10:0", Keys{}, nil},
		{"[::1]:8080", Keys{}, nil},
		{"[::ffff:127.0.0.1]:8080", Keys{}, nil},
		{"localhost:8080", Keys{}, nil},
		{"0.0.0.0:8080", Keys{}, ErrNeedsKey},
		{":8080", Keys{}, ErrNeedsKey},
		{"[::]:8080", Keys{}, ErrNeedsKey},
		{"192.168.1.7:8080", Keys{}, ErrNeedsKey},
		{"10.0.0.1:8080", Keys{}, ErrNeedsKey},
		{"example.com:8080", Keys{}, ErrNeedsKey},
		{"localhost.example.com:8080", Keys{}, ErrNeedsKey},
		{"0.0.0.0:8080", some, nil},
		{":8080", some, nil},
		{"example.com:8080", some, nil},
		{"127.0.0.1", Keys{}, ErrAddress},
		{"", some, ErrAddress},
	} {
		if err := CheckListen(c.address, c.keys); !errors.Is(err, c.want) {
			t.Errorf("CheckListen(%q), keys %v: %v, want %v", c.address, c.keys.Set(), err, c.want)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	for _, key := range []string{"", "short", "a key with spaces", "ein-schlüssel", "tab\tin-it-here", "newline-at-end\n"} {
		_, err := NewKeys([]string{"a-good-key", key})
		if !errors.Is(err, ErrKey) {
			t.Errorf("key %q: %v, want ErrKey", key, err)
		}
		if err != nil && key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

func TestKeys(t *testing.T) {
	keys, err := NewKeys([]string{"a-good-key", "another-key"})
	if err != nil {
		t.Fatal(err)
	}
	basic := func(user, password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"X-API-Key", "a-good-key", true},
		{"X-API-Key", "another-key", true},
		{"X-API-Key", "a-good-ke", false},
		{"X-API-Key", "a-good-keyy", false},
		{"X-API-Key", "A-GOOD-KEY", false},
		{"Authorization", "Bearer a-good-key", true},
		{"Authorization", "bearer a-good-key", true},
		{"Authorization", "Bearer  a-good-key", true},
		{"Authorization", "Bearer", false},
		{"Authorization", "Bearer wrong-key-here", false},
		{"Authorization", "a-good-key", false},
		{"Authorization", "Digest a-good-key", false},
		{"Authorization", basic("", "a-good-key"), true},
		{"Authorization", basic("anybody", "another-key"), true},
		{"Authorization", basic("a-good-key", ""), false},
		{"Cookie", "a-good-key", false},
		{"Accept", "", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(c.name, c.value)
		if got := keys.Allow(r); got != c.want {
			t.Errorf("%s: %s is allowed: %v, want %v", c.name, c.value, got, c.want)
		}
	}
	if r := httptest.NewRequest(http.MethodGet, "/", nil); !(Keys{}).Allow(r) {
		t.Error("without keys a request needs one")
	}
}

func TestHosts(t *testing.T) {
	g := New(Keys{}, func(*http.Request) bool { return false })
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST:8080": true, "localhost.": true, "app.localhost:80": true,
		"127.0.0.1": true, "127.0.0.1:8080": true, "127.1.2.3": true, "[::1]": true, "[::1]:8080": true, "": true,
		"evil.example.com": false, "evil.example.com:8080": false, "127.0.0.1.nip.io": false, "localhost.evil.com": false,
		"0.0.0.0:8080": false, "192.168.1.7:8080": false, "[::]:8080": false, "[2001:db8::1]:80": false, "2130706433": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		if got := g.Check(r) == nil; got != want {
			t.Errorf("Host %q is served: %v, want %v", host, got, want)
		}
	}
}
