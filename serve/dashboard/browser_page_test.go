package dashboard_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// browsers are the programs that are looked for.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"}

// startBrowser starts a headless browser for all the tests of t, which are
// skipped unless MILLRACE_BROWSER is "required": `make test` needs only Go,
// `make test-browser` sets it.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("MILLRACE_BROWSER") != "required" {
		t.Skip("the browser's tests run with `make test-browser`")
	}
	at := ""
	for _, name := range browsers {
		if found, err := exec.LookPath(name); err == nil {
			at = found
			break
		}
	}
	if at == "" {
		t.Fatalf("there is none of %s; scripts/install-browser.sh installs one", strings.Join(browsers, ", "))
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(at), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", at, err)
	}
	return ctx
}

// buildProgram builds millrace.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "millrace")
	if out, err := exec.Command("go", "build", "-o", program, "millrace/cmd/millrace").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// shop is a millrace server in a process of its own.
type shop struct {
	t       *testing.T
	program string
	data    string
	address string // HOST:PORT
	process *exec.Cmd
	log     bytes.Buffer // may be read once the process has ended
	logged  sync.WaitGroup
}

// startShop starts a server with an empty data directory on a free port.
func startShop(t *testing.T, program string) *shop {
	t.Helper()
	s := &shop{t: t, program: program, data: t.TempDir(), address: "127.0.0.1:0"}
	s.start()
	t.Cleanup(s.stop)
	return s
}

var addressPattern = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// start starts the server, where it was before if it was running before, and
// returns when it is ready.
func (s *shop) start(environment ...string) {
	s.t.Helper()
	s.process = exec.Command(s.program, "serve", "--data", s.data, "--listen", s.address)
	s.process.Env = append(os.Environ(), environment...)
	stderr, err := s.process.StderrPipe()
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	ready := make(chan string, 1)
	s.logged.Go(func() {
		defer close(ready)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintln(&s.log, lines.Text())
			if m := addressPattern.FindStringSubmatch(lines.Text()); m != nil && len(ready) == 0 {
				ready <- m[1]
			}
		}
	})
	address, ok := <-ready
	if !ok {
		s.stop()
		s.t.Fatalf("the server did not start:\n%s", s.log.String())
	}
	s.address = address
}

// stop ends the server. Stopping again does nothing.
func (s *shop) stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(os.Interrupt) // it may have ended by itself
	s.logged.Wait()
	if err := s.process.Wait(); err != nil {
		s.t.Errorf("the server ended with %v:\n%s", err, s.log.String())
	}
	s.process = nil
}

// url is the address of the page.
func (s *shop) url() string { return "http://" + s.address + "/" }

// send makes a request with a JSON body, which must succeed.
func (s *shop) send(method, path, body string) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url()+strings.TrimPrefix(path, "/"), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, answer.StatusCode, text)
	}
}

// traffic is what the tests fill a server with: a shop of the past, so that
// stream time is far from the wall clock.
func traffic(to string) []string {
	return []string{"generate", "--events", "20000", "--users", "1000", "--items", "500", "--seed", "3", "--start", "2024-01-05T09:00:00Z", "--to", to}
}

// fill sends the traffic, and returns a user who bought something in it.
func (s *shop) fill() string {
	s.t.Helper()
	if out, err := exec.Command(s.program, traffic(s.url())...).CombinedOutput(); err != nil {
		s.t.Fatalf("generate: %v\n%s", err, out)
	}
	out, err := exec.Command(s.program, traffic("-")...).Output()
	if err != nil {
		s.t.Fatalf("generate: %v", err)
	}
	user := ""
	for line := range bytes.Lines(out) {
		var e struct {
			User string `json:"user_id"`
			Type string `json:"event_type"`
		}
		if json.Unmarshal(line, &e) == nil && e.Type == "purchase" {
			user = e.User
		}
	}
	if user == "" {
		s.t.Fatal("nobody bought anything")
	}
	return user
}

// page is the dashboard in a tab of its own, with storage of its own.
type page struct {
	t        *testing.T
	ctx      context.Context
	expected []string // parts of console errors that are no mistake

	watching sync.WaitGroup
	console  []string // errors; like requests, may be read once nobody watches
	requests []string // addresses outside the server
}

const (
	pageTimeout = time.Minute      // of everything that is done in a page
	waitTimeout = 20 * time.Second // of one wait
	theEnd      = "the end of the test"
)

// openPage opens an address. At the end of the test the page must have
// written no errors and have asked nobody but its server.
func openPage(t *testing.T, browser context.Context, s *shop, address string) *page {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, pageTimeout)
	t.Cleanup(stop)
	p := &page{t: t, ctx: ctx}
	p.do(chromedp.EmulateViewport(1440, 1000))
	p.media("light")
	p.watch(s.address)
	p.do(chromedp.Navigate(address))
	t.Cleanup(p.finish)
	return p
}

// watch collects what finish looks at.
func (p *page) watch(host string) {
	messages, requests := chromedp.Console(p.ctx), chromedp.Events(p.ctx, network.RequestWillBeSent)
	if _, err := chromedp.Call(p.ctx, network.Enable, network.EnableParams{}); err != nil {
		p.t.Fatal(err)
	}
	p.watching.Go(func() {
		for m, err := range messages {
			if err != nil || m.Text == theEnd {
				return
			}
			if m.Type == chromedp.ConsoleError || m.IsException() {
				p.console = append(p.console, fmt.Sprintf("%s (%s)", m, m.URL))
			}
		}
	})
	p.watching.Go(func() {
		for r, err := range requests {
			if err != nil || strings.Contains(r.Request.URL, "n=999") {
				return
			}
			to, err := url.Parse(r.Request.URL)
			if err != nil || to.Scheme != "about" && (to.Scheme != "http" || to.Host != host) {
				p.requests = append(p.requests, r.Request.URL)
			}
		}
	})
}

// finish checks what watch has collected.
func (p *page) finish() {
	if p.t.Failed() {
		p.picture("failed")
	}
	if p.ctx.Err() == nil {
		// What the browser tells is in order, so these come after everything else.
		p.do(chromedp.Evaluate[chromedp.Void](`console.log("` + theEnd + `"); fetch(location.origin + "/v1/deadletters?n=999").catch(() => {}); undefined`))
	}
	p.watching.Wait()
	for _, text := range p.console {
		if !slices.ContainsFunc(p.expected, func(part string) bool { return strings.Contains(text, part) }) {
			p.t.Errorf("console: %s", text)
		}
	}
	for _, address := range p.requests {
		p.t.Errorf("the page asked for %s", address)
	}
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// media makes the page see a colour scheme, and a reader who wants no motion,
// so that nothing is clicked while it moves.
func (p *page) media(scheme string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// eval is the value of an expression in the page.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// waiting is a promise that is kept once a condition holds. The condition is
// looked at whenever something in the page changes.
const waiting = `new Promise((done) => {
	const holds = () => { try { return Boolean(%s); } catch { return false; } };
	if (holds()) return done(true);
	const watch = new MutationObserver(() => { if (holds()) { watch.disconnect(); done(true); } });
	watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
})`

// wait returns once a condition holds in the page.
func (p *page) wait(condition string) {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.ctx, waitTimeout)
	defer stop()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(waiting, condition), chromedp.EvalAwaitPromise))
	if errors.Is(err, context.DeadlineExceeded) && p.ctx.Err() == nil {
		p.t.Fatalf("%s did not come true in %v; the page says %q and %q", condition, waitTimeout, p.text("#state-text"), p.text("#told"))
	}
	if err != nil {
		p.t.Fatalf("%s: %v", condition, err)
	}
}

// quoted is a text as a JavaScript literal.
func quoted(text string) string {
	b, _ := json.Marshal(text) // texts always encode
	return string(b)
}

func (p *page) text(selector string) string {
	p.t.Helper()
	return eval[string](p, `document.querySelector(`+quoted(selector)+`)?.textContent ?? ""`)
}

func (p *page) count(selector string) int {
	p.t.Helper()
	return eval[int](p, `document.querySelectorAll(`+quoted(selector)+`).length`)
}

// waitText waits until an element's text holds a part.
func (p *page) waitText(selector, part string) {
	p.t.Helper()
	p.wait(`document.querySelector(` + quoted(selector) + `).textContent.includes(` + quoted(part) + `)`)
}

// click presses the mouse on an element.
func (p *page) click(selector string) {
	p.t.Helper()
	p.do(chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// enter types over the text of a field.
func (p *page) enter(selector, text string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(chromedp.CSS(selector)))
	eval[bool](p, `document.querySelector(`+quoted(selector)+`).select() === undefined`)
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// shown is an item of a list as the page shows it.
type shown struct {
	ID, Title, Reason, Source, Score, Change string
}

// items are the items of a list.
func (p *page) items(list string) []shown {
	p.t.Helper()
	return eval[[]shown](p, `[...document.querySelectorAll(`+quoted(list+" > .item")+`)].map((node) => ({
		ID: node.dataset.item, Title: node.querySelector(".title").textContent,
		Reason: node.querySelector(".reason")?.textContent ?? "", Source: node.querySelector(".source")?.textContent ?? "",
		Score: node.querySelector(".score")?.textContent ?? "", Change: node.dataset.change ?? "",
	}))`)
}

// choose opens a shopper by id.
func (p *page) choose(user string) {
	p.t.Helper()
	p.enter("#user", user)
	p.click("#picker [type=submit]")
	p.waitText("#told", user)
}

// picture stores a picture of the whole page with the test's artifacts.
func (p *page) picture(name string) {
	p.t.Helper()
	b, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(p.t.ArtifactDir(), name+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Logf("no picture %s: %v", name, err)
	}
}
