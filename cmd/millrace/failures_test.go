package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// failingBinary builds millrace with a mistake in an operator: clean panics
// on the item "poison".
func failingBinary(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../../recommend/clean/clean.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	mistaken := regexp.MustCompile(`(?m)^func \(o \*clean\) Fold\(.*\{$`).ReplaceAllString(string(text), "$0\n\tif e.Item == \"poison\" {\n\t\tpanic(\"it is poison\")\n\t}")
	if mistaken == string(text) {
		t.Fatal("there is no such function to put a mistake into")
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: fileOf(t, "clean.go", mistaken)}})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "millrace")
	out, err := exec.Command("go", "build", "-overlay", fileOf(t, "overlay.json", string(overlay)), "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// launched is a millrace of its own.
type launched struct {
	t   *testing.T
	url string
	log *safeBuffer // standard error
	cmd *exec.Cmd
	end chan error
}

// launch starts a command that serves.
func launch(t *testing.T, binary, data, tries, command string) *launched {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	p := &launched{t: t, url: "http://" + address, log: &safeBuffer{}, end: make(chan error, 1)}
	p.cmd = exec.Command(binary, command, "--data", data, "--listen", address, "--log-level", "info")
	p.cmd.Env = append(os.Environ(), "MILLRACE_OPERATOR_TRIES="+tries)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.end <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// get is the body of an answer, empty where there is none.
func (p *launched) get(path string) string {
	r, err := http.Get(p.url + path)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return ""
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	return string(b)
}

func (p *launched) ready() {
	p.t.Helper()
	await(p.t, "the server is ready", func() bool { return p.get("/v1/health") != "" })
}

// poison sends an event on which the operator fails.
func (p *launched) poison() {
	body := `[{"user_id":"u","item_id":"good","timestamp":1700000000},{"event_id":"its-own","user_id":"u","item_id":"poison","timestamp":1700000001}]`
	if r, err := http.Post(p.url+"/v1/events", "application/json", strings.NewReader(body)); err == nil {
		r.Body.Close()
	}
}

// ends waits for the exit code.
func (p *launched) ends() int {
	p.t.Helper()
	select {
	case err := <-p.end:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(60 * time.Second):
		p.t.Fatalf("it does not end:\n%s", p.log)
	}
	return 0
}

// With operator_tries 0 an operator that fails ends the process, and the next
// one too; both say why.
func TestServerStopsWhenAnOperatorFailsAndNothingIsTried(t *testing.T) {
	binary := failingBinary(t)
	const reason = `an operator failed: stage clean, key "u": it is poison`
	for _, command := range []string{"serve", "demo"} {
		data := filepath.Join(t.TempDir(), "data")
		p := launch(t, binary, data, "0", command)
		p.ready()
		p.poison()
		code, log := p.ends(), p.log.String()
		if code != 1 || !strings.Contains(log, `msg="stopping, as operator_tries says"`) || strings.Count(log, "stack=") != 1 || strings.Contains(log, "msg=stopped") {
			t.Errorf("%s ends with %d, and says\n%s", command, code, log)
		}
		if last := lastLine(log); !strings.HasPrefix(last, "millrace: the engine has stopped: block ") || !strings.HasSuffix(last, reason) {
			t.Errorf("%s: the last line is %q", command, last)
		}
		p = launch(t, binary, data, "0", command)
		code, log = p.ends(), p.log.String()
		if last := lastLine(log); code != 1 || strings.Count(log, "stack=") != 1 || !strings.HasPrefix(last, "millrace: recover: ") || !strings.HasSuffix(last, reason) {
			t.Errorf("%s, started again, ends with %d, and says\n%s", command, code, log)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// With tries the server goes on without the event, on the same address, and
// there is something to alert on. In the end it says that it has stopped.
func TestServerGoesOnWithoutTheEvent(t *testing.T) {
	binary := failingBinary(t)
	for _, command := range []string{"serve", "demo"} {
		p := launch(t, binary, filepath.Join(t.TempDir(), "data"), "3", command)
		p.ready()
		for _, none := range []string{`millrace_operator_failures_total{stage="clean"} 0`, "millrace_events_skipped_total 0"} {
			if text := p.get("/metrics"); !strings.Contains(text, none) {
				t.Errorf("%s: no %q in the metrics", command, none)
			}
		}
		p.poison()
		await(t, "the event is skipped", func() bool { return strings.Contains(p.get("/metrics"), "millrace_events_skipped_total 1\n") })
		if text := p.get("/metrics"); !strings.Contains(text, `millrace_operator_failures_total{stage="clean"} 5`) {
			t.Errorf("%s: the failures are not counted: %s", command, text)
		}
		if command == "demo" { // its traffic goes on
			before := total(t, p)
			await(t, "more traffic", func() bool { return total(t, p) > before })
		}
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		code, log := p.ends(), p.log.String()
		if code != 0 || strings.Count(log, "stack=") != 1 || strings.Count(log, "event_id=its-own user=u item=poison try=") != 3 || !strings.Contains(lastLine(log), "msg=stopped") {
			t.Errorf("%s ends with %d, and says\n%s", command, code, log)
		}
		for line := range strings.Lines(log) {
			if len(line) > 1500 {
				t.Errorf("%s: a line of %d characters: %s", command, len(line), line)
			}
		}
	}
}

// total is how many events count.
func total(t *testing.T, p *launched) int {
	t.Helper()
	var s struct{ Events struct{ Total int } }
	if err := json.Unmarshal([]byte(p.get("/v1/stats")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Events.Total
}
