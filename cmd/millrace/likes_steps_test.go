package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/catalog/databasetest"
)

// wires lie between a process and the systems that it works with. What the
// process sends is counted, a write on a connection a step, and at one of them it
// is killed.
type wires struct {
	t *testing.T

	mutex sync.Mutex
	steps map[string]int // by the systems that were written to, since arm
	fuse  moment
	kill  func()
}

// moment is just before a step, from 1, or when the other side has it.
type moment struct {
	system string
	step   int
	late   bool
}

// line is the address of a wire to an address that is known later.
func (w *wires) line(system string, target *string) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(system, from, *target)
		}
	}()
	return l.Addr().String()
}

func (w *wires) carry(system string, from net.Conn, target string) {
	defer from.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(from, to)
		from.Close()
	}()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		late, kill := w.step(system)
		if kill != nil && !late {
			kill()
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
		if kill != nil {
			time.Sleep(5 * time.Millisecond) // the answer is on its way
			kill()
		}
	}
}

// step counts a step; kill is nil unless it is the one.
func (w *wires) step(system string) (late bool, kill func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.steps[system]++
	if system == w.fuse.system && w.steps[system] == w.fuse.step {
		return w.fuse.late, w.kill
	}
	return false, nil
}

// arm begins to count.
func (w *wires) arm(fuse moment, kill func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.steps, w.fuse, w.kill = map[string]int{}, fuse, kill
}

// moments are two for each step that was counted.
func (w *wires) moments() map[string][]moment {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	all := map[string][]moment{}
	for system, steps := range w.steps {
		for step := 1; step <= steps; step++ {
			all[system] = append(all[system], moment{system, step, false}, moment{system, step, true})
		}
	}
	return all
}

// stepReactions are one of each kind, of the n-th try.
func stepReactions(n int) map[string]string {
	list := map[string]string{}
	for _, kind := range []string{"likes", "reads", "favorites", "comments"} {
		list[kind] = fmt.Sprintf(`{"user_id":"u%d","content_id":"s%d","title":"t","idempotency_key":"k"}`, n%50, n)
	}
	return list
}

// react sends the reactions of a try that were not acknowledged yet.
func (w *likesWorld) react(n int) (all bool) {
	all = true
	for kind, body := range stepReactions(n) {
		key := fmt.Sprint(kind, ":", body)
		if !w.done[key] && w.send(w.t.Context(), w.url+"/recommendation/"+kind, body) {
			w.done[key] = true
		}
		all = all && w.done[key]
	}
	return all
}

// settled waits until all reactions are acknowledged and counted.
func (w *likesWorld) settled(n int) {
	w.t.Helper()
	waitFor(w.t, "all reactions to be acknowledged", func() bool { return w.react(n) })
	rows, total := w.rows()
	if total != 4*(n+1) {
		w.t.Fatalf("try %d: %d rows of %d reactions", n, total, 4*(n+1))
	}
	waitFor(w.t, "Redis to count all", func() bool { return maps.Equal(w.counted(rows), rows) })
}

// killedAt tries reactions while the server is killed at a moment, and has it
// settle. It is false where there was no such moment.
func (w *likesWorld) killedAt(lines *wires, m moment, n int) (reached bool) {
	w.t.Helper()
	process, killed := w.process.Process, make(chan struct{})
	lines.arm(m, sync.OnceFunc(func() {
		_ = process.Kill()
		close(killed)
	}))
	w.react(n)
	select {
	case <-killed:
		reached = true
	case <-time.After(2 * time.Second): // this time it took fewer steps
		_ = process.Kill()
	}
	lines.arm(moment{}, nil)
	_ = w.process.Wait()
	w.run()
	w.settled(n)
	return reached
}

// TestLikesKilledAtEveryStep kills the server at each step of what comes of
// reactions: the statements of the row and of its place, the script and the
// marker in Redis, the requests of the transaction in Kafka. Those that were not
// acknowledged are sent again. Each is there once, everywhere. MILLRACE_SOAK
// takes all steps, otherwise they are drawn.
func TestLikesKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *databasetest.Server) {
		lines := &wires{t: t, steps: map[string]int{}}
		w := newLikesWorld(t, db, lines)
		w.settled(0)
		lines.arm(moment{}, nil)
		w.settled(1)
		time.Sleep(500 * time.Millisecond) // what Kafka and the log take meanwhile
		steps, random, n := lines.moments(), rand.New(rand.NewPCG(3, 1)), 1
		for _, system := range []string{"database", "redis", "kafka"} {
			list, killed := steps[system], 0
			if os.Getenv("MILLRACE_SOAK") == "" {
				random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				list = list[:min(len(list), 10)]
			}
			for _, m := range list {
				n++
				if w.killedAt(lines, m, n) {
					killed++
				}
			}
			t.Logf("%s: killed at %d of %d moments", system, killed, len(steps[system]))
			if killed == 0 {
				t.Errorf("no kill was at a step of %s", system)
			}
		}
		w.check()
	})
}

// TestLikesAnswers has systems go one by one: what is answered, and that what was
// acknowledged meanwhile gets on.
func TestLikesAnswers(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *databasetest.Server) {
		w := newLikesWorld(t, db, nil)
		words := map[string]string{"likes": "点赞", "reads": "阅读", "favorites": "收藏", "comments": "评论"}
		answers := func(n int, user, code, format string) {
			t.Helper()
			for kind, body := range stepReactions(n) {
				body = strings.Replace(body, fmt.Sprintf(`"u%d"`, n), user, 1)
				want := fmt.Sprintf(`{"code":%s,"msg":"%s"}`, code, strings.ReplaceAll(format, "KIND", words[kind]))
				status, text := ask(t, http.MethodPost, w.url+"/recommendation/"+kind, body)
				if status != http.StatusOK || strings.TrimSpace(text) != want {
					t.Errorf("%s: %d %s, expected %s", kind, status, text, want)
				}
				if code == "0" {
					w.done[kind+":"+body] = true
				}
			}
		}
		for range 2 { // the second time they are there already
			answers(0, `"u0"`, "0", "KIND成功")
		}
		answers(1, `"nobody"`, "1000", "用户名不存在")
		answers(1, `[1]`, "2000", "error")
		w.redis.Kill()
		w.kafka.Kill()
		answers(2, `"u2"`, "0", "KIND成功")
		db.Kill()
		answers(3, `"u3"`, "1001", "KIND失败")
		w.redis.Start()
		w.kafka.Start()
		db.Start()
		waitFor(t, "reactions to be taken again", func() bool { return w.react(3) })
		if _, total := w.rows(); total != 3*4 {
			t.Errorf("%d rows, expected 12", total)
		}
		w.check()
	})
}
