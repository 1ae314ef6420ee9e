package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"millrace/view/redis"
)

// The settings that docs/redis.md lists are all that there are, and its values
// the defaults.
func TestRedisSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	settings, _, ok := strings.Cut(rest, "```")
	if !ok || !strings.HasPrefix(settings, "redis:\n") {
		t.Fatal("docs/redis.md has no settings")
	}
	c, err := loadText(t, settings)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Redis.Addresses) == 0 && len(c.Redis.ViewTTL) == 0 {
		c.Redis.Addresses, c.Redis.ViewTTL = nil, nil
	}
	if want := redis.DefaultConfig(); !reflect.DeepEqual(c.Redis, want) {
		t.Errorf("documented\n%+v\nthe defaults are\n%+v", c.Redis, want)
	}
	eachSetting(reflect.TypeFor[redis.Config](), func(name, variable string) {
		if !strings.Contains(settings, name+":") || variable != "" && !strings.Contains(settings, variable+"\n") && !strings.Contains(settings, variable+":") {
			t.Errorf("docs/redis.md does not have %s, %s", name, variable)
		}
	})
}

func TestRedisSettingsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"redis: {addresses: [localhost]}":                                 "redis.addresses: want HOST:PORT",
		"redis: {addresses: [\"localhost:1\"], timeout: soon}":            "timeout: want a duration",
		"redis: {addresses: [\"localhost:1\"], ttl: 1s}":                  "redis.ttl: want at least 1m",
		"redis: {addresses: [\"localhost:1\"], hosts: []}":                "hosts",
		"redis: {addresses: [\"localhost:1\"], tls: {ca: some/file.pem}}": "redis.tls.enabled: want true",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := run(t, t.Context(), "serve", "--views", "redis"); err == nil || !strings.Contains(err.Error(), "redis.addresses") {
		t.Errorf("a front without a Redis: %v", err)
	}
	if _, err := run(t, t.Context(), "serve", "--views", "disk"); err == nil || !strings.Contains(err.Error(), "memory or redis") {
		t.Errorf("views of no kind: %v", err)
	}
}
