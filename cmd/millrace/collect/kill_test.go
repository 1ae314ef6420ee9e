package collect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// killUsers is how many users the lines belong to.
const killUsers = 7

// shop is a log that is written to and rotated, and the processes that collect
// it.
type shop struct {
	t       *testing.T
	random  *rand.Rand
	binary  string
	folder  string
	config  string
	data    string
	address string
	copies  bool // rotation copies and truncates

	written int // lines so far
	part    string
	rotated int
	bad     int
}

// TestKill kills what collects, and the server, with SIGKILL at random moments
// while a log is written to and rotated. At the end each line has been counted
// exactly once.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	binary := filepath.Join(t.TempDir(), "millrace")
	if out, err := exec.Command("go", "build", "-o", binary, "millrace/cmd/millrace").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for i, c := range []struct {
		name           string
		remote, copies bool
	}{{"in the server", false, false}, {"copied in the server", false, true}, {"beside it", true, false}, {"copied beside it", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t, binary, rand.New(rand.NewPCG(seed, uint64(i))), c.remote, c.copies)
			for range rounds() {
				s.round(c.remote)
			}
			s.settle(c.remote)
		})
	}
}

func rounds() int {
	if os.Getenv("MILLRACE_SOAK") != "" {
		return 50
	}
	return 6
}

func newShop(t *testing.T, binary string, random *rand.Rand, remote, copies bool) *shop {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	s := &shop{t: t, random: random, binary: binary, folder: filepath.Join(dir, "log"), data: filepath.Join(dir, "data"), address: l.Addr().String(), copies: copies}
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	s.config = filepath.Join(dir, "c.yaml")
	text := fmt.Sprintf("data: %s\nlisten: %s\ncheckpoint_interval: 200ms\n", s.data, s.address)
	section := fmt.Sprintf("collect:\n  poll_interval: 50ms\n  files:\n    - {paths: [\"%s/app.log*\"], form: keyvalue, fields: {user: user_id, item: item_id, type: event_type}}\n", s.folder)
	for path, text := range map[string]string{s.config: text, s.config + ".collect": text + section} {
		if !remote {
			text += section
			if path != s.config {
				continue
			}
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// start starts a process that ends with the test.
func (s *shop) start(arguments ...string) *exec.Cmd {
	s.t.Helper()
	c := exec.Command(s.binary, append(arguments, "--log-level", "error")...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func kill(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait()
}

// round runs the processes for a while, as the log is written to, and kills
// them one after the other.
func (s *shop) round(remote bool) {
	server := s.start("serve", "--config", s.config)
	processes := []*exec.Cmd{server}
	if remote {
		processes = append(processes, s.start("collect", "--config", s.config+".collect", "--to", "http://"+s.address))
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	random := rand.New(rand.NewPCG(s.random.Uint64(), 2))
	writer.Go(func() { s.write(stop, random) })
	for _, i := range s.random.Perm(len(processes)) {
		time.Sleep(time.Duration(150+s.random.IntN(600)) * time.Millisecond)
		kill(processes[i])
	}
	close(stop)
	writer.Wait()
}

// write appends lines in pieces and rotates, until it is stopped.
func (s *shop) write(stop <-chan struct{}, random *rand.Rand) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(random.IntN(10)) * time.Millisecond):
		}
		text := s.part
		for range 1 + random.IntN(50) {
			if random.IntN(200) == 0 {
				text += fmt.Sprintf("user=u0 item=bad%d type=stare ts=1760000000\n", s.bad)
				s.bad++
			}
			text += fmt.Sprintf("level=info user=u%d item=\"i%d\" type=click ts=%d n=%d\n", s.written%killUsers, s.written%101, 1_760_000_000_000+int64(s.written)*20, s.written)
			s.written++
		}
		cut := len(text) - random.IntN(min(30, len(text)))
		s.part = text[cut:]
		s.append(text[:cut])
		if s.part == "" && random.IntN(4) == 0 {
			s.rotate()
		}
	}
}

func (s *shop) append(text string) {
	f, err := os.OpenFile(filepath.Join(s.folder, "app.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		s.t.Error(err)
	}
}

func (s *shop) rotate() {
	s.rotated++
	path := filepath.Join(s.folder, "app.log")
	to := fmt.Sprintf("%s.%d", path, s.rotated)
	if !s.copies {
		if err := os.Rename(path, to); err != nil {
			s.t.Error(err)
		}
		return
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err = errors.Join(err, os.Truncate(path, 0)); err != nil {
		s.t.Error(err)
	}
}

// settle demands that each user's lines have been counted once.
func (s *shop) settle(remote bool) {
	s.append(s.part)
	server := s.start("serve", "--config", s.config)
	defer kill(server)
	if remote {
		collector := s.start("collect", "--config", s.config+".collect", "--to", "http://"+s.address)
		defer kill(collector)
	}
	var got [killUsers]int
	want := func(u int) int { return (s.written - u + killUsers - 1) / killUsers }
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		settled := true
		for u := range got {
			got[u] = s.clicks(u)
			settled = settled && got[u] >= want(u)
		}
		if settled {
			break
		}
	}
	time.Sleep(500 * time.Millisecond) // for more than there should be
	for u := range got {
		if got[u] = s.clicks(u); got[u] != want(u) {
			s.t.Errorf("user u%d: %d lines were written, %d counted", u, want(u), got[u])
		}
	}
	letters := s.get("/v1/deadletters?n=1000")
	if s.bad > 0 && (!strings.Contains(letters, "app.log") || !strings.Contains(letters, "offset") || !strings.Contains(letters, "stare")) {
		s.t.Errorf("%d bad lines, and the dead letters are %.500s", s.bad, letters)
	}
	s.t.Logf("%d lines, %d bad ones, %d rotations", s.written, s.bad, s.rotated)
}

func (s *shop) get(path string) string {
	r, err := http.Get("http://" + s.address + path)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	var raw json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&raw)
	return string(raw)
}

func (s *shop) clicks(user int) int {
	var profile struct {
		Counts map[string]int `json:"counts"`
	}
	_ = json.Unmarshal([]byte(s.get(fmt.Sprintf("/v1/users/u%d/profile", user))), &profile)
	return profile.Counts["click"]
}
