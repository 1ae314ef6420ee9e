package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/engine/embedded"
	"millrace/operator"
	"millrace/serve/api"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

var recordGolden = flag.String("golden.record", "", "release whose golden savepoint is new: write its digests instead of comparing them")

// goldenFolder has the golden savepoints of all releases, and answersFile what
// answers this release gives from each: those may change, where operators answer
// otherwise on purpose. The savepoints and the digests of their state never do.
const (
	goldenFolder = "../../savepoint/testdata/golden"
	answersFile  = goldenFolder + "/answers.json"
)

// maxGoldenBytes bounds a golden savepoint, as all of them are kept for ever.
const maxGoldenBytes = 200 << 10

// goldenDigest is of a golden savepoint, and never changes.
type goldenDigest struct {
	State string `json:"state"` // SHA-256 of stage, key and value of everything, as it was stored
	Block uint64 `json:"block"`
	Keys  uint64 `json:"keys"`
}

// This release restores what every release before it has saved, loads all of
// it, answers from it, and goes on.
func TestGoldenSavepoints(t *testing.T) {
	answers := map[string]string{}
	readJSON(t, answersFile, &answers)
	releases, err := filepath.Glob(filepath.Join(goldenFolder, "*", "savepoints"))
	if err != nil || len(releases) == 0 {
		t.Fatalf("%d golden savepoints, %v", len(releases), err)
	}
	for _, path := range releases {
		store := filepath.Dir(path)
		release := filepath.Base(store)
		t.Run(release, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			must[map[string]any](t, "savepoint", "restore", "golden", "--data", data, "--from", store, "--shards", "3")
			made := must[api.SavepointRecord](t, "savepoint", "describe", "golden", "--to", store, "--verify")
			got := goldenDigest{State: digestState(t, data), Block: made.Block}
			for _, s := range made.Stages {
				got.Keys += s.Keys
			}
			answered := digestAnswers(t, data)
			if *recordGolden == release {
				writeJSON(t, filepath.Join(store, "digest.json"), got)
				answers[release] = answered
				writeJSON(t, answersFile, answers)
			}
			var want goldenDigest
			readJSON(t, filepath.Join(store, "digest.json"), &want)
			if got != want {
				t.Errorf("restored %+v, want %+v", got, want)
			}
			if answers[release] != answered {
				t.Errorf("the answers are %s, and were %s: if operators answer otherwise on purpose, change %s and say why", answered, answers[release], answersFile)
			}
			checkGoldenSize(t, store)
			goOn(t, data)
		})
	}
}

// goOn starts a server on what was restored.
func goOn(t *testing.T, data string) {
	t.Helper()
	s := started(t, testConfig(data))
	defer s.stop()
	if code, body := ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(20)); code != http.StatusOK {
		t.Errorf("%d %.300s", code, body)
	}
	if code, body := ask(t, "GET", s.url+"/v1/trending", ""); code != http.StatusOK || !strings.Contains(body, "item_id") {
		t.Errorf("%d %.300s", code, body)
	}
}

func checkGoldenSize(t *testing.T, store string) {
	t.Helper()
	size := int64(0)
	err := filepath.WalkDir(store, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil || size > maxGoldenBytes {
		t.Errorf("%s has %d bytes, %v; at most %d", store, size, err, maxGoldenBytes)
	}
}

// digestState is of what is stored, key by key.
func digestState(t *testing.T, data string) string {
	t.Helper()
	store, err := pebble.Open(filepath.Join(data, stateFolder), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h := sha256.New()
	err = store.Load(func(stage string, key, value []byte) error {
		fmt.Fprintf(h, "%d:%s %d:%s %d:%s\n", len(stage), stage, len(key), key, len(value), value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// digestAnswers is of every answer of every view.
func digestAnswers(t *testing.T, data string) string {
	t.Helper()
	store, err := pebble.Open(filepath.Join(data, stateFolder), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	views := viewmemory.New()
	e, err := embedded.Inspect(embedded.Options{Build: buildProgram, Log: untilBlock{}, State: store, Views: views, Duplicates: duplicates()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	program, err := buildProgram(e.Config())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, name := range program.Topology.Views() {
		err := views.Each(name, func(key string, v operator.Value) error {
			b, err := v.AppendBinary(nil)
			list = append(list, fmt.Sprintf("%s %q %x", name, key, b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(list)
	sum := sha256.Sum256([]byte(strings.Join(list, "\n")))
	return fmt.Sprintf("%d answers %x", len(list), sum)
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil && *recordGolden == "" {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
