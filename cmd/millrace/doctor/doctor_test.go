package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/internal/services"
	"millrace/source/kafka"
)

// onThisDisk is OK, or Warning where the tests' own disk is nearly full.
func onThisDisk(list []Finding) State {
	if slices.ContainsFunc(list, func(f Finding) bool { return f.State == Warning && strings.HasPrefix(f.Text, "only ") }) {
		return Warning
	}
	return OK
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	well := run(t, Directory(filepath.Join(dir, "made", "later")))
	find(t, well, filepath.Join(dir, "made", "later"), onThisDisk(well), "are free")
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%v is left, %v", list, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	find(t, run(t, Directory(file)), file, Failed, "not a directory")
	find(t, run(t, Directory("/proc/millrace")), "/proc/millrace", Failed, "may not write")
}

func TestListen(t *testing.T) {
	free := closedAddress(t)
	find(t, run(t, Listen(free)), free, OK, "is free")
	for body, want := range map[string]Finding{
		`{"status":"ok"}`: {State: OK, Text: "and is well"},
		`{"status":"degraded","reason":"kafka is away"}`: {State: Warning, Text: "degraded: kafka is away"},
		`not found`: {State: Failed, Text: "another program"},
		`{}`:        {State: Failed, Text: "another program"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, body) }))
		address := s.Listener.Addr().String()
		find(t, run(t, Listen(address)), address, want.State, want.Text)
		s.Close()
	}
	find(t, run(t, Listen("192.0.2.1:8080")), "192.0.2.1:8080", Failed, "no such address")
}

func TestObjectStore(t *testing.T) {
	dir := t.TempDir()
	list := run(t, ObjectStore(dir))
	if len(list) != 1 || list[0].State != OK {
		t.Errorf("%+v", list)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "doctor", "*")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "someone")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "something")
	denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer denying.Close()
	for endpoint, want := range map[string]string{denying.URL: "denies access", "http://" + closedAddress(t): "does not answer"} {
		address := "s3://bucket/folder?path_style=true&endpoint=" + endpoint
		if list := run(t, ObjectStore(address)); len(list) != 1 || list[0].State != Failed || !strings.Contains(list[0].Text, want) {
			t.Errorf("%+v, want %s", list, want)
		}
	}
}

func TestFlinkWords(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		state  State
		want   string
	}{
		"well":        {`{"taskmanagers":2,"slots-total":4,"slots-available":3,"flink-version":"2.2.1"}`, 200, OK, "3 of 4 slots"},
		"full":        {`{"taskmanagers":2,"slots-total":4,"slots-available":0,"flink-version":"2.2.1"}`, 200, Warning, "all 4 slots"},
		"old":         {`{"taskmanagers":2,"slots-total":4,"slots-available":3,"flink-version":"1.20.0"}`, 200, Warning, "2.2"},
		"no managers": {`{"taskmanagers":0,"slots-total":0,"slots-available":0,"flink-version":"2.2.1"}`, 200, Failed, "no TaskManager"},
		"another":     {`{"status":"ok"}`, 200, Failed, "no Flink"},
		"no page":     {`not found`, 404, Failed, "something else"},
		"no json":     {`<html>`, 200, Failed, "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = fmt.Fprint(w, c.answer)
			}))
			defer s.Close()
			find(t, run(t, Flink(s.URL)), s.URL, c.state, c.want)
		})
	}
}

// TestClock: a server of tomorrow.
func TestClock(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().UTC().Add(24*time.Hour).Format(http.TimeFormat))
		_, _ = fmt.Fprint(w, `{"taskmanagers":1,"slots-total":1,"slots-available":1,"flink-version":"2.2.1"}`)
	}))
	defer s.Close()
	find(t, run(t, Flink(s.URL)), s.URL, Warning, "off from this machine's")
}

func TestFlinkCluster(t *testing.T) {
	t.Parallel()
	c := services.Flink(t, services.FlinkOptions{})
	address := "http://" + c.Address
	find(t, run(t, Flink(address)), address, OK, "1 TaskManagers, 2 of 2 slots are free")
	closed := "http://" + closedAddress(t)
	find(t, run(t, Flink(closed)), closed, Failed, "refuses connections")
}

func TestRegistry(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); user != "ann" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, `["clicks-value"]`)
	}))
	defer s.Close()
	closed := "http://" + closedAddress(t)
	c := schemaregistry.Config{URLs: []string{s.URL, closed}}
	list := run(t, Registry(c))
	find(t, list, s.URL, Failed, "other credentials")
	find(t, list, closed, Failed, "refuses connections")
	c.User, c.Password = "ann", "secret"
	find(t, run(t, Registry(c)), s.URL, OK, "answers")
}

// TestCommand: what is configured is looked at, side by side, and a failure is
// the command's.
func TestCommand(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // it accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	silent := listener.Addr().String()
	settings := Settings{Data: t.TempDir(), Listen: closedAddress(t), Kafka: kafka.Default(), Catalog: database.Default()}
	settings.Kafka.Brokers = []string{silent}
	settings.Catalog.Driver = database.PostgreSQL
	settings.Catalog.DSN = database.Secret("postgres://ann:secret@" + silent + "/shop")
	execute := func(read func(string) (Settings, error), arguments ...string) (string, error) {
		c := New(read)
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(arguments)
		err := c.ExecuteContext(context.Background())
		return out.String(), err
	}
	begun := time.Now()
	text, err := execute(func(string) (Settings, error) { return settings, nil }, "--json", "--timeout", "1s")
	if !errors.Is(err, ErrUnwell) || time.Since(begun) > 8*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	var report Report
	if err := json.Unmarshal([]byte(text), &report); err != nil || report.OK {
		t.Fatalf("%v\n%s", err, text)
	}
	find(t, report.Findings, settings.Data, onThisDisk(report.Findings), "")
	find(t, report.Findings, settings.Listen, OK, "")
	find(t, report.Findings, silent, Failed, "in time")
	find(t, report.Findings, database.PostgreSQL, Failed, "in time")
	if strings.Contains(text, "secret") {
		t.Error("a password is told")
	}
	settings.Kafka.Brokers, settings.Catalog = nil, database.Default()
	if text, err := execute(func(string) (Settings, error) { return settings, nil }); err != nil || strings.Count(text, "\n") != 2 {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = execute(func(string) (Settings, error) { return Settings{}, kafkaclient.ErrConfig }, "--config", "shop.yaml")
	if !errors.Is(err, ErrUnwell) || !strings.Contains(text, "shop.yaml") {
		t.Errorf("%v\n%s", err, text)
	}
}
