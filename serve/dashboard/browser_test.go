package dashboard_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestBrowser looks at the page in a real browser, with a real server behind.
func TestBrowser(t *testing.T) {
	browser := startBrowser(t)
	program := buildProgram(t)
	s := startShop(t, program)

	t.Run("an empty server says what to do", func(t *testing.T) { testEmpty(t, browser, s) })
	user := s.fill()
	for _, test := range []struct {
		name string
		run  func(*page, *shop, string)
	}{
		{"live figures move", testLive},
		{"trending", testTrending},
		{"three columns", testColumns},
		{"a like changes the page", testLike},
		{"a new shopper gets a profile", testColdStart},
		{"an anonymous visit", testVisit},
		{"an item and its neighbors", testDrawer},
		{"followed while others act", testFollow},
		{"times and figures", testFunctions},
		{"the keyboard is enough", testKeyboard},
		{"looks", testLooks},
		{"a shopper in the address", testAddress},
		{"titles stay text", testMarkup},
		{"an item without a title goes by its id", testUntitled},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := openPage(t, browser, s, s.url())
			p.wait(`document.querySelector("#state").dataset.state === "live"`)
			test.run(p, s, user)
		})
	}
	t.Run("keys", func(t *testing.T) { testKeys(t, browser, s, user) })
}

func testEmpty(t *testing.T, browser context.Context, s *shop) {
	p := openPage(t, browser, s, s.url())
	p.wait(`!document.querySelector("#start").hidden`)
	lines := eval[[]string](p, `[...document.querySelectorAll("#start code")].map((node) => node.textContent)`)
	if len(lines) != 4 {
		t.Fatalf("%d lines to try: %q", len(lines), lines)
	}
	for i, part := range []string{"curl -X POST '" + s.url() + "v1/events?wait=applied'", "curl '" + s.url() + "v1/users/me/recommendations", "curl '" + s.url() + "v1/trending", "millrace generate"} {
		if !strings.HasPrefix(lines[i], part) {
			t.Errorf("line %d is %q, want it to begin with %q", i+1, lines[i], part)
		}
	}
	p.waitText("#trending-hint", "Nothing is trending yet")
	p.picture("empty")
	s.send("POST", "/v1/events?wait=applied", `{"user_id":"first","item_id":"first","event_type":"view","timestamp":"2024-01-05T08:00:00Z"}`)
	p.wait(`document.querySelector("#start").hidden`)
	p.wait(`document.querySelector("#events").textContent === "1"`)
}

// figure is a number as the page writes it.
func figure(t *testing.T, text string) float64 {
	t.Helper()
	text, _, _ = strings.Cut(text, " ")
	n, err := strconv.ParseFloat(strings.ReplaceAll(text, ",", ""), 64)
	if err != nil {
		t.Fatalf("%q is no number", text)
	}
	return n
}

func testLive(p *page, s *shop, _ string) {
	p.wait(`document.querySelector("#events").textContent !== "–"`)
	before := figure(p.t, p.text("#events"))
	if before < 20000 {
		p.t.Errorf("%v events in all, want at least 20000", before)
	}
	var body strings.Builder
	for i := range 500 {
		fmt.Fprintf(&body, `{"user_id":"live%d","item_id":"i1","event_type":"impression","timestamp":"2024-01-05T09:00:00Z"}`+"\n", i)
	}
	s.send("POST", "/v1/events?wait=applied", body.String())
	p.wait(fmt.Sprintf(`Number(document.querySelector("#events").textContent.replaceAll(",", "")) >= %v`, before+500))
	p.wait(`document.querySelector("#p99").textContent !== "–"`)
	p.waitText("#rate-recent", " a second over the last 10 s")
	for _, id := range []string{"#stream-time", "#lag", "#blocks", "#queue", "#memory", "#uptime", "#version"} {
		if text := p.text(id); text == "" || text == "–" {
			p.t.Errorf("%s is not shown", id)
		}
	}
	if text := p.text("#stream-date"); !strings.HasPrefix(text, "2024-01-") {
		p.t.Errorf("stream time %q, want that of the traffic", text)
	}
	// Both charts have drawn something.
	for _, id := range []string{"chart-rate", "chart-latency"} {
		p.wait(`document.querySelector("#` + id + ` canvas")?.width > 100`)
	}
	p.wait(`document.querySelector("#checkpoint-rows").rows.length > 0 || document.querySelector("#checkpoint-advice").textContent.includes("no checkpoint")`)
	p.wait(`document.querySelectorAll("#checkpoint-advice li[data-level]").length > 0`)
}

func testTrending(p *page, _ *shop, _ string) {
	p.wait(`document.querySelectorAll("#trending-list > .item").length === 10`)
	p.wait(`[...document.querySelectorAll("#trending-list .reason")].every((node) => node.textContent)`)
	day := p.items("#trending-list")
	for i := 1; i < len(day); i++ {
		if figure(p.t, day[i].Score) > figure(p.t, day[i-1].Score) {
			p.t.Errorf("place %d has heat %s after %s", i+1, day[i].Score, day[i-1].Score)
		}
	}
	if width := eval[float64](p, `document.querySelector("#trending-list .track > span").getBoundingClientRect().width / document.querySelector("#trending-list .track").getBoundingClientRect().width`); width < 0.99 {
		p.t.Errorf("the first bar is %.2f of its track", width)
	}
	category := day[3].Reason
	p.enter("#trending-category", category+kb.Enter)
	p.wait(`[...document.querySelectorAll("#trending-list .reason")].every((node) => node.textContent === ` + quoted(category) + `)`)

	p.enter("#trending-category", kb.Backspace+kb.Enter)
	p.wait(`document.querySelector("#trending-list .title")?.textContent === ` + quoted(day[0].Title))
	choose := func(id, value string) {
		eval[bool](p, fmt.Sprintf(`(() => { const s = document.querySelector(%q); s.value = %q; return s.dispatchEvent(new Event("change")); })()`, id, value))
	}
	choose("#half-life", "1h")
	p.wait(`document.querySelector("#trending-list .score")?.textContent !== ` + quoted(day[0].Score))
	choose("#cohort-age", "25-34")
	p.wait(`document.querySelectorAll("#trending-list > .item").length > 0`)
	p.enter("#trending-category", "No such thing"+kb.Enter)
	p.waitText("#trending-hint", "Nothing is trending in “No such thing”")
	if age := eval[string](p, `document.querySelector("#cohort-age").value`); age != "" {
		p.t.Errorf("with a category, the cohort is still %q", age)
	}
}

func testColumns(p *page, _ *shop, user string) {
	p.choose(user)
	if n := p.count("#recent > .item"); n == 0 {
		p.t.Error("no recent items")
	}
	if n := p.count("#profile-interests .bars li"); n == 0 {
		p.t.Error("no interests")
	}
	if text := p.text("#profile-habits"); !strings.Contains(text, "purchase") {
		p.t.Errorf("habits without a purchase: %q", text)
	}
	list := p.items("#list")
	if len(list) != 12 {
		p.t.Fatalf("%d recommendations, want 12", len(list))
	}
	for _, r := range list {
		if r.Title == "" || r.Reason == "" || r.Source == "" || r.Score == "" || r.Change != "" {
			p.t.Errorf("incomplete, or marked as changed: %+v", r)
		}
	}
	had := ids(p.items("#recent"))
	if slices.ContainsFunc(list, func(r shown) bool { return slices.Contains(had, r.ID) }) {
		p.t.Error("something that was had is recommended")
	}
	p.click("#list-seen")
	p.waitText("#told", "also what was seen")
	if !slices.ContainsFunc(p.items("#list"), func(r shown) bool { return slices.Contains(had, r.ID) }) {
		p.t.Error("nothing that was had is recommended, though it may be")
	}
}

func ids(list []shown) []string {
	var all []string
	for _, s := range list {
		all = append(all, s.ID)
	}
	return all
}

func testLike(p *page, _ *shop, user string) {
	p.choose(user)
	recent, list := p.items("#recent"), p.items("#list")
	p.click("#list .item [data-act=like]")
	p.wait(`document.querySelector("#stopwatch").textContent !== "–"`)
	p.waitText("#told", "Liked "+list[0].Title)
	p.t.Logf("click to changed list: %s; %s", p.text("#stopwatch"), p.text("#told"))
	now := p.items("#recent")
	if now[0].ID != list[0].ID || !strings.HasPrefix(now[0].Reason, "liked") || now[0].Change != "new" {
		p.t.Errorf("the newest item is %+v, want %q as liked and new", now[0], list[0].Title)
	}
	if now[1].ID != recent[0].ID || now[1].Change != "" {
		p.t.Errorf("the second newest is %+v, want %q unmarked", now[1], recent[0].Title)
	}
	changed := p.items("#list")
	if slices.Contains(ids(changed), list[0].ID) {
		p.t.Errorf("%q is still recommended", list[0].Title)
	}
	if slices.Equal(ids(changed), ids(list)) {
		p.t.Error("the list has not changed")
	}
	if !slices.ContainsFunc(changed, func(r shown) bool { return r.Reason == "because you liked "+list[0].Title }) {
		p.t.Errorf("nothing is recommended because of the like: %+v", changed)
	}
	for i, r := range changed {
		was := slices.Index(ids(list), r.ID)
		want := ""
		switch {
		case was < 0:
			want = "new"
		case was > i:
			want = "up"
		case was < i:
			want = "down"
		}
		if r.Change != want {
			p.t.Errorf("%q went from place %d to %d and is marked %q, want %q", r.Title, was, i, r.Change, want)
		}
	}
}

func testColdStart(p *page, _ *shop, _ string) {
	p.click("#fresh")
	p.waitText("#told", "has just walked in")
	p.waitText("#profile-interests", "None yet")
	for _, r := range p.items("#list") {
		if r.Source != "trending" && r.Source != "new" {
			p.t.Errorf("a stranger gets %+v", r)
		}
	}
	p.picture("cold")
	category := eval[string](p, `document.querySelector("#categories option").value`)
	p.enter("#list-category", category+kb.Enter)
	p.waitText("#told", "Recommended from “"+category+"”")
	for _, act := range []string{"view", "like", "purchase"} {
		title := p.text("#list .item .title")
		p.click("#list .item [data-act=" + act + "]")
		p.waitText("#told", title)
	}
	p.wait(`document.querySelectorAll("#recent > .item").length === 3`)
	p.wait(`document.querySelectorAll("#profile-interests .bars li").length > 0`)
	p.wait(`[...document.querySelectorAll("#list .reason")].some((node) => node.textContent.startsWith("because you"))`)
	if !strings.Contains(p.text("#profile-session"), "3 events, 3 items") {
		p.t.Errorf("the visit says %q", p.text("#profile-session"))
	}
	p.enter("#about [name=age]", "30")
	p.click("#about [type=submit]")
	p.waitText("#profile-about", "Age30")
	p.picture("warm")
}

func testVisit(p *page, _ *shop, _ string) {
	events := p.text("#events")
	p.click(".switch label:last-of-type")
	p.waitText("#profile", "Nothing is stored")
	p.wait(`document.querySelectorAll("#list > .item").length === 12`)
	title := p.text("#list .item .title")
	p.click("#list .item [data-act=view]")
	p.waitText("#told", "Looked at "+title)
	if got := p.items("#recent"); len(got) != 1 || got[0].Title != title {
		p.t.Errorf("the visit has %+v, want %q", got, title)
	}
	p.wait(`[...document.querySelectorAll("#list .reason")].some((node) => node.textContent.includes(` + quoted("you looked at "+title) + `))`)
	if n := eval[int](p, `[...document.querySelectorAll("#list .act")].filter((node) => node.checkVisibility() && node.dataset.act !== "view").length`); n > 0 {
		p.t.Errorf("a visitor can do %d things that are not told to the server", n)
	}
	if now := p.text("#events"); now != events {
		p.t.Errorf("%s events, there were %s", now, events)
	}
}

func testDrawer(p *page, _ *shop, _ string) {
	p.wait(`document.querySelectorAll("#trending-list > .item").length === 10`)
	p.click("#trending-list .title")
	p.wait(`document.querySelectorAll("#neighbors > .item").length > 0`)
	title := p.text("#item-title")
	if facts := p.text("#item-body"); !strings.Contains(facts, "Categories") || !strings.Contains(facts, "Id") {
		p.t.Errorf("of the item it says %q", facts)
	}
	for _, n := range p.items("#neighbors") {
		if figure(p.t, n.Score) <= 0 || n.Title == "" {
			p.t.Errorf("neighbor %+v", n)
		}
	}
	p.picture("drawer")
	next := p.text("#neighbors .title")
	p.click("#neighbors .title")
	p.waitText("#item-title", next)
	p.click("#item-back")
	p.waitText("#item-title", title)
	p.do(chromedp.KeyEvent(kb.Escape))
	p.wait(`!document.querySelector("#item").open`)
}

func testFollow(p *page, s *shop, user string) {
	p.click("#surprise")
	p.waitText("#told", "Opened")
	p.choose(user)
	p.click("#follow")
	s.send("POST", "/v1/events?wait=applied", `{"user_id":`+quoted(user)+`,"item_id":"i2","event_type":"dislike","timestamp":"2024-01-05T09:10:00Z"}`)
	p.waitText("#recent .reason", "disliked")
	if got := p.items("#recent")[0]; got.ID != "i2" || got.Change != "new" {
		p.t.Errorf("the newest item is %+v, want i2 as new", got)
	}
}

// testFunctions calls functions of the page's modules.
func testFunctions(p *page, _ *shop, _ string) {
	for _, test := range []struct{ module, call, want string }{
		// An event of now has the wall clock's time where the stream is live, ...
		{"shopper", `eventTime(null, 1000)`, "1000"},
		{"shopper", `eventTime("2024-01-01T00:00:00Z", Date.UTC(2024, 0, 1, 0, 4))`, fmt.Sprint(1704067200000 + 4*60000)},
		{"shopper", `eventTime("2024-01-01T00:00:00Z", Date.UTC(2023, 11, 31, 23, 56))`, "1704067200001"},
		// ... and else that of the stream's newest event, a millisecond later.
		{"shopper", `eventTime("2024-01-01T00:00:00Z", Date.UTC(2024, 0, 1, 0, 6))`, "1704067200001"},
		{"shopper", `eventTime("2024-01-01T00:00:00Z", Date.UTC(2023, 11, 31, 23, 54))`, "1704067200001"},
		{"list", `[...changes(["a", "b", "c"], ["c", "a", "d"])].map(([id, c]) => id + c.text)`, "c▲ 2,a▼ 1,dnew"},
		{"format", `[0.42, 8.126, 12.34, 123.4, 1234, 12345].map(milliseconds)`, "0.42 ms,8.13 ms,12.3 ms,123 ms,1.2 s,12 s"},
		{"format", `[0, 1023, 1536, 1048576].map(bytes)`, "0 B,1023 B,1.5 KiB,1.0 MiB"},
		{"format", `[0, 5.04, 59, 90, 5400, 86400, 700000000].map(duration)`, "0 s,5.0 s,59 s,2 min,1.5 h,1 day,22 years"},
		{"format", `[0, 0.005, 0.1234, 12.34, 123.4, -0.5].map(score)`, "0.00,0.005,0.12,12.3,123,-0.50"},
		{"format", `before("2024-01-01T00:00:00Z", "2024-01-01T00:00:30Z")`, "30 s ago"},
	} {
		got, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`import("/dashboard/`+test.module+`.js").then((m) => { const `+
			`{ eventTime, changes, milliseconds, bytes, duration, before, score } = m; return String(`+test.call+`); })`, chromedp.EvalAwaitPromise))
		if err != nil || got != test.want {
			p.t.Errorf("%s: got %q, want %q (%v)", test.call, got, test.want, err)
		}
	}
}

func testMarkup(p *page, s *shop, _ string) {
	const title = `<img src=x onerror="window.hacked=1"><b>Bold</b>`
	s.send("PUT", "/v1/items/markup", `{"title":`+quoted(title)+`,"categories":["<i>Odd</i>"]}`)
	var body strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&body, `{"user_id":"<u>%d","item_id":"markup","event_type":"purchase","timestamp":"2024-01-05T09:30:00Z"}`+"\n", i)
	}
	s.send("POST", "/v1/events?wait=applied", body.String())
	p.wait(`[...document.querySelectorAll("#trending-list .title")].some((node) => node.textContent === ` + quoted(title) + `)`)
	p.choose("<u>7")
	if got := p.text("#recent .title"); got != title {
		p.t.Errorf("recent item %q, want the title as text", got)
	}
	p.waitText("#profile-interests", "<i>Odd</i>")
	p.click("#recent .title")
	p.wait(`document.querySelector("#item-title").textContent === ` + quoted(title))
	if eval[bool](p, `"hacked" in window || document.querySelectorAll("main img, dialog img, main b, main i, main u, dialog i").length > 0`) {
		p.t.Error("a title became markup")
	}
}

func testUntitled(p *page, s *shop, _ string) {
	s.send("POST", "/v1/events?wait=applied", `{"user_id":"plain","item_id":"sku-17","event_type":"like","timestamp":"2024-01-05T09:40:00Z"}`)
	p.choose("plain")
	if got := p.text("#recent .title"); got != "sku-17" {
		p.t.Errorf("recent item %q, want its id", got)
	}
	p.click("#recent .title")
	p.wait(`document.querySelector("#item-title").textContent === "sku-17"`)
}

func testKeyboard(p *page, _ *shop, user string) {
	p.do(chromedp.KeyEvent(kb.Tab))
	if got := eval[string](p, `document.activeElement.textContent`); got != "Skip to the workbench" {
		p.t.Errorf("the first stop of the tab key is %q", got)
	}
	p.choose(user)
	eval[bool](p, `document.querySelector("#list .item [data-act=like]").focus() === undefined`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.waitText("#told", "Liked")
	if got := eval[string](p, `document.activeElement.closest("#list") ? document.activeElement.dataset.act : document.activeElement.tagName`); got != "like" {
		p.t.Errorf("after the key the focus is on %s, want the like button that came to its place", got)
	}
	nameless := eval[[]string](p, `[...document.querySelectorAll("button, input, select, summary, a[href]")].filter((node) =>
		!(node.textContent.trim() || node.getAttribute("aria-label") || [...(node.labels ?? [])].some((label) => label.textContent.trim()))
	).map((node) => node.outerHTML.slice(0, 80))`)
	if len(nameless) > 0 {
		p.t.Errorf("without a name for a screen reader: %q", nameless)
	}
	for id, want := range map[string]string{"#state": "status", "#told": "status", "#trending-hint": "status", "#key-error": "alert"} {
		if role := eval[string](p, `document.querySelector(`+quoted(id)+`).getAttribute("role")`); role != want {
			p.t.Errorf("%s has the role %q, want %q", id, role, want)
		}
	}
}

func testLooks(p *page, _ *shop, user string) {
	p.choose(user)
	p.wait(`document.querySelectorAll("#trending-list > .item").length === 10`)
	// As web.dev has it, a sum of at most 0.1 is good. What a reader causes does not count.
	shift, err := chromedp.Run(p.ctx, chromedp.Evaluate[float64](shifts, chromedp.EvalAwaitPromise))
	if err != nil || shift > 0.1 {
		p.t.Errorf("the layout shifted by %.3f: %v", shift, err)
	}
	p.picture("light")
	p.media("dark")
	p.picture("dark")
	for _, width := range []int64{1024, 768, 360} {
		p.do(chromedp.EmulateViewport(width, 800))
		if wide := eval[int64](p, `document.documentElement.scrollWidth`); wide > width {
			p.t.Errorf("at a width of %d the page is %d wide", width, wide)
		}
		p.picture(fmt.Sprintf("narrow-%d", width))
	}
}

// shifts is the sum of the layout shifts that no reader has caused.
const shifts = `new Promise((done) => {
	new PerformanceObserver((list) => done(list.getEntries().filter((e) => !e.hadRecentInput).reduce((sum, e) => sum + e.value, 0)))
		.observe({ type: "layout-shift", buffered: true });
	setTimeout(() => done(0), 500);
})`

func testAddress(p *page, s *shop, user string) {
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(s.url()+"#shopper="+user))
	p.waitText("#told", "Opened "+user)
	p.expected = append(p.expected, "404") // the browser writes down that nobody is known by this name
	p.choose("nobody/at all?")
	p.waitText("#told", "Nobody has seen nobody/at all? yet")
	if n := p.count("#list > .item"); n != 12 {
		p.t.Errorf("%d recommendations, want what is popular", n)
	}
	if hash := eval[string](p, `location.hash`); hash != "#shopper=nobody%2Fat%20all%3F" {
		p.t.Errorf("the address ends in %q", hash)
	}
}

func testKeys(t *testing.T, browser context.Context, s *shop, user string) {
	const key = "correct-horse"
	p := openPage(t, browser, s, s.url())
	p.expected = []string{"401", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET"}
	p.choose(user)
	s.stop()
	p.waitText("#state-text", "No connection")
	p.click("#list .item [data-act=view]")
	p.waitText("#told", "The server does not answer")
	s.start("MILLRACE_KEYS=" + key)
	p.wait(`document.querySelector("#key-dialog").open`)
	p.waitText("#state-text", "API key needed")
	p.picture("key")
	p.enter("#key", "wrong-horse"+kb.Enter)
	p.waitText("#key-error", "does not know this key")
	p.enter("#key", key+kb.Enter)
	p.wait(`document.querySelector("#state").dataset.state === "live" && !document.querySelector("#key-dialog").open`)
	p.waitText("#told", "again")
	// The columns are drawn anew just now, so the first button may be one that
	// is on its way out: press until one has been heard.
	p.wait(`document.querySelector("#told").textContent.includes("Viewed") || (document.querySelector("#list .item [data-act=view]")?.click(), false)`)

	// A browser that was asked for the key when it loaded the page needs no other.
	withKey := openPage(t, browser, s, "http://any:"+key+"@"+s.address+"/")
	withKey.expected = []string{"401"}
	withKey.choose(user)
	withKey.wait(`document.querySelector("#state").dataset.state === "live"`)
	if eval[bool](withKey, `document.querySelector("#key-dialog").open`) {
		t.Error("the page asks for the key again")
	}
}
