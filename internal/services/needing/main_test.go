package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestFindsThoseThatAskThemselves: the tests of the package that starts systems
// need them too, whatever they call it by.
func TestFindsThoseThatAskThemselves(t *testing.T) {
	names, err := tests("..", []string{"services"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"TestScripts", "TestStartTellsWhatRuns", "TestKafka", "TestKafkaSecure", "TestFlink", "TestRedis", "TestMariaDB", "TestNothingIsLeft"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not found among %v", want, names)
		}
	}
}

// TestFindsWhatReachesAStarter: directly, through a function of the tests, or by
// the variable; a name of the package's own code is none.
func TestFindsWhatReachesAStarter(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.go": "package a\nfunc Parse() { services := 1; _ = services }\n",
		"a_test.go": `package a
func TestParse() { Parse() }
func TestStarts() { services.Redis() }
func TestThrough() { start() }
func start() { TestStarts() }
func TestAsks() { os.Getenv("MILLRACE_SERVICES") }
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names, err := tests(dir, []string{"services"})
	slices.Sort(names)
	if want := []string{"TestAsks", "TestStarts", "TestThrough"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v; want %v", names, err, want)
	}
}
