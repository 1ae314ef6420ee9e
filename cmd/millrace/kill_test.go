package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	statememory "millrace/state/memory"
)

// killRounds is how often the server is killed.
func killRounds() int {
	switch {
	case testing.Short():
		return 5
	case os.Getenv("MILLRACE_SOAK") != "":
		return 300
	}
	return 50
}

// TestKill kills a real server with SIGKILL at random moments, also while it
// recovers, under load. After every restart each acknowledged event must be
// there: sent again under its event_id, it is a repeat. At the end every event
// has been counted exactly once, and verify finds state and views equal to a
// clean replay.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killing{t: t, random: rand.New(rand.NewPCG(seed, 1)), data: t.TempDir(), binary: buildBinary(t), acked: map[int]bool{}}
	for round := range killRounds() {
		k.round(round)
		if t.Failed() {
			return
		}
	}
	k.settle()
	result, err := verify(context.Background(), k.data, 1+k.random.IntN(6), statememory.New())
	if err != nil {
		t.Fatal(err)
	}
	if !result.Equal {
		t.Errorf("after %d kills the state differs from a clean replay: %+v", killRounds(), result.Differences)
	}
	t.Logf("%d events, %d of them acknowledged before a kill, %d blocks", k.next, len(k.acked), result.Blocks)
}

// built is millrace as buildBinary has built it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	m.Run()
	_ = os.RemoveAll(built.dir) // nothing is done if it is ""
}

// buildBinary builds millrace for tests that need a process of their own, once
// for all of them.
func buildBinary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "millrace-binary-"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", built.dir, ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "millrace")
}

// killUsers is how many users the test's events belong to.
const killUsers = 7

type killing struct {
	t      *testing.T
	random *rand.Rand
	data   string
	binary string
	url    string

	environment []string // settings besides

	mutex sync.Mutex
	next  int          // the next event; event n has the id "e<n>"
	acked map[int]bool // by event
}

// killEvent is the n-th event of the test.
func killEvent(n int) map[string]any {
	return map[string]any{
		"event_id": fmt.Sprint("e", n), "user_id": fmt.Sprint("u", n%killUsers), "item_id": fmt.Sprint("i", n%101),
		"event_type": "click", "timestamp": 1_760_000_000_000 + int64(n)*20,
	}
}

func (k *killing) start(arguments ...string) *exec.Cmd {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		k.t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	k.url = "http://" + address
	c := exec.Command(k.binary, append([]string{"serve", "--data", k.data, "--listen", address, "--log-level", "error"}, arguments...)...)
	c.Env = append(append(os.Environ(), "MILLRACE_CHECKPOINT_INTERVAL=100ms"), k.environment...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		k.t.Fatal(err)
	}
	return c
}

func (k *killing) ready() bool {
	for range 2000 {
		r, err := http.Get(k.url + "/v1/health")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return true
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	k.t.Error("the server was not ready within 10 s")
	return false
}

// round starts the server, loads it and kills it after a while.
func (k *killing) round(round int) {
	server := k.start()
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	if round%5 == 4 { // while it recovers
		time.Sleep(time.Duration(k.random.IntN(60)) * time.Millisecond)
		return
	}
	if !k.ready() {
		return
	}
	k.checkAcked()
	ctx, stop := context.WithTimeout(context.Background(), time.Duration(20+k.random.IntN(350))*time.Millisecond)
	defer stop()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				k.post(ctx)
			}
		})
	}
	<-ctx.Done()
	_ = server.Process.Kill()
	writers.Wait()
}

// post sends a few new events and notes them as acknowledged if they were.
func (k *killing) post(ctx context.Context) {
	k.mutex.Lock()
	first, count := k.next, 1+rand.IntN(20)
	k.next += count
	k.mutex.Unlock()
	accepted, duplicates, err := k.send(ctx, first, count)
	if err != nil {
		return
	}
	if accepted+duplicates != count {
		k.t.Errorf("events %d to %d: %d accepted, %d duplicates", first, first+count-1, accepted, duplicates)
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for n := first; n < first+count; n++ {
		k.acked[n] = true
	}
}

func (k *killing) send(ctx context.Context, first, count int) (accepted, duplicates int, err error) {
	var list []map[string]any
	for n := first; n < first+count; n++ {
		list = append(list, killEvent(n))
	}
	body, err := json.Marshal(list)
	if err != nil {
		return 0, 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("%s: %s", response.Status, b)
	}
	var answer struct{ Accepted, Duplicates int }
	err = json.Unmarshal(b, &answer)
	return answer.Accepted, answer.Duplicates, err
}

// checkAcked sends a sample of the acknowledged events again: all are repeats.
func (k *killing) checkAcked() {
	var acked []int
	for n := range k.acked {
		acked = append(acked, n)
	}
	for range min(20, len(acked)) {
		n := acked[k.random.IntN(len(acked))]
		accepted, duplicates, err := k.send(context.Background(), n, 1)
		if err != nil {
			k.t.Fatalf("send event %d again: %v", n, err)
		}
		if accepted != 0 || duplicates != 1 {
			k.t.Errorf("event %d was acknowledged, and after a kill it is not there", n)
		}
	}
}

// settle sends every event of the test again and demands that each user's
// events have been counted once.
func (k *killing) settle() {
	server := k.start()
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	}()
	if !k.ready() {
		return
	}
	for first := 0; first < k.next; first += 500 {
		count := min(500, k.next-first)
		_, duplicates, err := k.send(context.Background(), first, count)
		if err != nil {
			k.t.Fatal(err)
		}
		known := 0
		for n := first; n < first+count; n++ {
			if k.acked[n] {
				known++
			}
		}
		if duplicates < known {
			k.t.Errorf("events %d to %d: %d were acknowledged, only %d are repeats", first, first+count-1, known, duplicates)
		}
	}
	for u := range killUsers {
		want := (k.next - u + killUsers - 1) / killUsers
		var profile struct {
			Counts map[string]int `json:"counts"`
		}
		r, err := http.Get(fmt.Sprintf("%s/v1/users/u%d/profile", k.url, u))
		if err != nil {
			k.t.Fatal(err)
		}
		err = json.NewDecoder(r.Body).Decode(&profile)
		r.Body.Close()
		if err != nil || profile.Counts["click"] != want {
			k.t.Errorf("user u%d: %d clicks were sent, %d counted (%v)", u, want, profile.Counts["click"], err)
		}
	}
}
