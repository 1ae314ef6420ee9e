package operatortest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"millrace/event"
	"millrace/operator"
)

// RunScript runs the script files under path through a topology over events.
// The verbs of a script:
//
//	item ID [title="..."] [categories=(a,b)] [hidden]    the catalogue, without output
//	user ID [age=25] [gender=f]
//	send            a line an event: TIME USER ITEM [TYPE] [value=4] [id=e1] [session=s]
//	watermark TIME  advances the watermark; firing timers
//	views [NAME]    what the views hold: "VIEW KEY JSON" a line
//	state [STAGE]   how many keys each stage holds
//	forget user|item ID
//	restore shards=N   encodes all state, and goes on from it with N shards
//
// send and watermark answer with what the stages emit: "STAGE.PORT TIME JSON"
// a line, and events as send takes them. TIME is HH:MM:SS[.mmm] on 2026-01-01,
// "dN HH:MM:SS" N days later, or RFC 3339. The out-of-orderness bound is 5
// seconds. "views after" an event are there at once, as in an engine that
// answers after every block.
//
// Every script runs once on one shard in order, where its outputs are
// compared, and again on three shards with random interleavings, where the
// views and the state at its end must be the same.
func RunScript(t *testing.T, path string, build func() *operator.Topology) {
	t.Helper()
	datadriven.Walk(t, path, func(t *testing.T, file string) {
		first := newScript(t, build(), 1, 0)
		datadriven.RunTest(t, file, first.run)
		views, state := first.end()
		for seed := uint64(1); seed <= 5; seed++ {
			again := newScript(t, build(), 3, seed)
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
				again.run(t, d)
				return d.Expected
			})
			v, s := again.end()
			if v != views {
				t.Errorf("seed %d, 3 shards: views differ\n%s\nin order on 1 shard\n%s", seed, v, views)
			}
			if s != state {
				t.Errorf("seed %d, 3 shards: state differs from that of 1 shard", seed)
			}
		}
	})
}

type script struct {
	engine *Engine[event.Enriched]
	items  map[string]*event.Item
	users  map[string]*event.User
	out    strings.Builder
}

func newScript(t *testing.T, topology *operator.Topology, shards int, seed uint64) *script {
	t.Helper()
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	s := &script{items: map[string]*event.Item{}, users: map[string]*event.User{}}
	s.engine = New[event.Enriched](topology, shards, 5*event.Second, seed)
	s.engine.Emitted = s.emitted
	return s
}

func (s *script) emitted(stage, port string, m operator.Meta, record any) {
	var b []byte
	var err error
	if e, ok := record.(*event.Enriched); ok {
		b = appendEvent(nil, e)
	} else if b, err = json.Marshal(record); err != nil {
		b = fmt.Appendf(nil, "%+v", record)
	}
	fmt.Fprintf(&s.out, "%s.%s %s %s\n", stage, port, clock(m.Time), b)
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	switch d.Cmd {
	case "item":
		s.putItem(d)
	case "user":
		s.putUser(d)
	case "send":
		for line := range strings.SplitSeq(d.Input, "\n") {
			e := s.parseEvent(t, d, line)
			s.engine.Send(e.Time, &e)
		}
		s.drain()
	case "watermark":
		at := strings.Join(keysOf(d), " ")
		s.engine.Watermark(parseClock(t, at))
		s.drain()
	case "views":
		s.engine.Drain()
		return s.views(keysOf(d)...)
	case "state":
		s.drain()
		for _, stage := range slices.Sorted(maps.Keys(s.engine.State())) {
			fmt.Fprintf(&s.out, "%s %d\n", stage, len(s.engine.State()[stage]))
		}
	case "forget":
		keys := keysOf(d)
		subject := map[string]operator.Subject{"user": operator.SubjectUser, "item": operator.SubjectItem}[keys[0]]
		s.engine.Forget(subject, keys[1])
	case "restore":
		var shards int
		d.ScanArgs(t, "shards", &shards)
		seed := uint64(0)
		if s.engine.random != nil {
			seed = 99
		}
		r, err := s.engine.Restored(shards, seed)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		s.engine = r
	default:
		d.Fatalf(t, "unknown verb %q", d.Cmd)
	}
	return s.out.String()
}

// drain lets in-order runs finish at once; random ones keep records in flight.
func (s *script) drain() {
	if s.engine.random == nil {
		s.engine.Drain()
	}
}

func (s *script) end() (views, state string) {
	s.engine.Drain()
	var b strings.Builder
	all := s.engine.State()
	for _, stage := range slices.Sorted(maps.Keys(all)) {
		for _, key := range slices.Sorted(maps.Keys(all[stage])) {
			fmt.Fprintf(&b, "%s %s %x\n", stage, key, all[stage][key])
		}
	}
	return s.views(), b.String()
}

func (s *script) views(names ...string) string {
	var b strings.Builder
	views := s.engine.Views()
	for _, view := range slices.Sorted(maps.Keys(views)) {
		if len(names) > 0 && !slices.Contains(names, view) {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(views[view])) {
			j, err := json.Marshal(views[view][key])
			if err != nil {
				j = fmt.Appendf(nil, "%+v", views[view][key])
			}
			fmt.Fprintf(&b, "%s %s %s\n", view, key, j)
		}
	}
	return b.String()
}

func keysOf(d *datadriven.TestData) []string {
	var keys []string
	for _, a := range d.CmdArgs {
		keys = append(keys, a.Key)
	}
	return keys
}

func (s *script) putItem(d *datadriven.TestData) {
	item := &event.Item{ID: d.CmdArgs[0].Key}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "title":
			item.Title = strings.Join(a.Vals, ",")
		case "categories":
			item.Categories = a.Vals
		case "hidden":
			item.Hidden = true
		}
	}
	s.items[item.ID] = item
}

func (s *script) putUser(d *datadriven.TestData) {
	user := &event.User{ID: d.CmdArgs[0].Key}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "age":
			user.Age, _ = strconv.Atoi(a.Vals[0])
		case "gender":
			user.Gender = a.Vals[0]
		}
	}
	s.users[user.ID] = user
}

func (s *script) parseEvent(t *testing.T, d *datadriven.TestData, line string) event.Enriched {
	t.Helper()
	f := strings.Fields(line)
	if len(f) > 0 && (strings.HasPrefix(f[0], "d")) {
		f = append([]string{f[0] + " " + f[1]}, f[2:]...)
	}
	if len(f) < 3 {
		d.Fatalf(t, "event %q: want TIME USER ITEM [TYPE] [name=value]", line)
	}
	e := event.Enriched{Event: event.Event{Time: parseClock(t, f[0]), User: f[1], Item: f[2], Type: "view"}}
	for _, word := range f[3:] {
		name, value, named := strings.Cut(word, "=")
		switch {
		case !named:
			e.Type = word
		case name == "value":
			e.Value, _ = strconv.ParseFloat(value, 64)
			e.HasValue = true
		case name == "id":
			e.ID = value
		case name == "session":
			e.Session = value
		case name == "request":
			e.Request = value
		default:
			d.Fatalf(t, "event %q: unknown field %q", line, name)
		}
	}
	e.ItemInfo, e.UserInfo = s.items[e.Item], s.users[e.User]
	return e
}

// appendEvent writes an event as send takes it, without its time.
func appendEvent(b []byte, e *event.Enriched) []byte {
	b = fmt.Appendf(b, "%s %s %s", e.User, e.Item, e.Type)
	if e.HasValue {
		b = fmt.Appendf(b, " value=%v", e.Value)
	}
	for _, f := range [...]struct{ name, value string }{{"id", e.ID}, {"session", e.Session}, {"request", e.Request}} {
		if f.value != "" {
			b = fmt.Appendf(b, " %s=%s", f.name, f.value)
		}
	}
	return b
}

// day0 is the day of the clock times in scripts.
var day0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func parseClock(t *testing.T, s string) event.Time {
	t.Helper()
	base := day0
	if days, rest, ok := strings.Cut(s, " "); ok && strings.HasPrefix(days, "d") {
		n, err := strconv.Atoi(days[1:])
		if err != nil {
			t.Fatalf("time %q: %v", s, err)
		}
		base, s = base.AddDate(0, 0, n), rest
	}
	if at, err := time.Parse("15:04:05", s); err == nil {
		return event.FromGo(base.Add(at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))))
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatalf("time %q: want HH:MM:SS, dN HH:MM:SS or RFC 3339", s)
	}
	return event.FromGo(at)
}

// clock writes a time the way scripts do.
func clock(t event.Time) string {
	g := t.Go()
	days := int(g.Sub(day0).Hours() / 24)
	if g.Before(day0) || days > 9999 {
		return t.String()
	}
	text := g.Format("15:04:05.999")
	if days > 0 {
		text = fmt.Sprintf("d%d %s", days, text)
	}
	return text
}
