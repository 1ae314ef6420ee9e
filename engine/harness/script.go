package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

// RunScript runs the script files under path through a topology over events,
// on all engines of a harness. The verbs of a script:
//
//	item ID [title="..."] [categories=(a,b)] [hidden]    the catalogue, without output
//	user ID [age=25] [gender=f]
//	send            a line an event: TIME USER ITEM [TYPE] [value=4] [id=e1] [session=s]
//	watermark TIME  advances the watermark; firing timers
//	processing TIME advances processing time; firing timers
//	views [NAME]    what the views hold: "VIEW KEY JSON" a line
//	state [STAGE]   how many keys each stage holds
//	forget user|item ID
//	restore shards=N   takes a snapshot, and goes on from it with N shards
//
// All but the first two answer with what the stages have emitted: "STAGE.PORT
// TIME JSON" a line, and events as send takes them. TIME is HH:MM:SS[.mmm] on
// 2026-01-01, "dN HH:MM:SS" N days later, or RFC 3339. The out-of-orderness
// bound is 5 seconds.
//
// Every script runs several times. First each verb is a block of its own, and
// its outputs, in the order in which the block-less engine emits on one shard,
// are compared with those of the file. Then, with other interleavings, records
// stay in flight until a verb needs all of them, or blocks end at random
// records: what was emitted, the views and the state at its end must be the
// same. For running see Options. The first time is in Flink's own harness too, see
// flinktest.Host.
func RunScript(t *testing.T, path string, build func() *operator.Topology, running ...string) {
	t.Helper()
	datadriven.Walk(t, path, func(t *testing.T, file string) {
		runScript(t, build, running, func(run func(*datadriven.TestData) string) {
			datadriven.RunTest(t, file, func(_ *testing.T, d *datadriven.TestData) string { return run(d) })
		})
	})
}

// passes is how often a script runs besides the first time.
const passes = 5

// runScript runs a script in all ways; read has run called for each verb, with
// what it answers.
func runScript(t TB, build func() *operator.Topology, running []string, read func(run func(*datadriven.TestData) string)) {
	t.Helper()
	first := newScript(t, build(), running, 0)
	read(first.run)
	want := first.end()
	first.harness.close()
	for seed := uint64(1); seed <= passes; seed++ {
		again := newScript(t, build(), running, seed)
		read(func(d *datadriven.TestData) string {
			again.run(d)
			return d.Expected
		})
		got := again.end()
		again.harness.close()
		for i, what := range [...]string{"views", "state", "records emitted"} {
			if got[i] != want[i] {
				t.Fatalf("seed %d, records in flight: %s differ\n%s\nverb by verb\n%s", seed, what, got[i], want[i])
			}
		}
	}
}

// script is one run of a script. It is the TB of its harness, so that a failure
// says where.
type script struct {
	TB
	harness *Harness[event.Enriched]
	pass    string
	verb    string     // that is being run
	flight  bool       // records stay in flight from verb to verb
	cuts    *rand.Rand // nil: blocks end where they must
	items   map[string]*event.Item
	users   map[string]*event.User
	running []string
	emitted []string // in all, but for running
}

func newScript(t TB, topology *operator.Topology, running []string, seed uint64) *script {
	t.Helper()
	s := &script{
		TB: t, pass: "verb by verb", flight: seed != 0, running: running,
		items: map[string]*event.Item{}, users: map[string]*event.User{},
	}
	if seed != 0 {
		s.pass = fmt.Sprintf("records in flight, seed %d", seed)
	}
	if seed%2 == 0 && seed != 0 {
		s.cuts = rand.New(rand.NewPCG(seed, 2))
	}
	s.harness = New[event.Enriched](s, topology, Options{
		Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(5 * event.Second) },
		Seed:       seed, Running: running, follow: true, hosts: seed == 0,
	})
	return s
}

// Fatalf says in which verb the script has failed.
func (s *script) Fatalf(format string, args ...any) {
	s.Helper()
	s.TB.Fatalf("%s: %s: %s", s.verb, s.pass, fmt.Sprintf(format, args...))
}

// run runs a verb and returns its output.
func (s *script) run(d *datadriven.TestData) string {
	s.verb = fmt.Sprintf("%s: %s", d.Pos, d.Cmd)
	switch d.Cmd {
	case "item":
		s.putItem(d)
	case "user":
		s.putUser(d)
	case "send":
		for line := range strings.SplitSeq(d.Input, "\n") {
			e := s.parseEvent(line)
			s.harness.Send(e.Time, e)
			if s.cuts != nil && s.cuts.IntN(4) == 0 {
				s.harness.Flush()
			}
		}
	case "watermark":
		s.harness.Advance(s.parseClock(strings.Join(keysOf(d), " ")))
	case "processing":
		s.harness.ProcessingTime(s.parseClock(strings.Join(keysOf(d), " ")))
	case "views":
		s.harness.Flush()
		return s.views(keysOf(d)...)
	case "state":
		s.harness.Flush()
		return s.keys(keysOf(d)...)
	case "forget":
		keys := keysOf(d)
		subject := map[string]operator.Subject{"user": operator.SubjectUser, "item": operator.SubjectItem}[keys[0]]
		s.harness.Forget(subject, keys[1])
	case "restore":
		arg, _ := d.Arg("shards")
		shards, err := strconv.Atoi(strings.Join(arg.Vals, ","))
		if err != nil {
			s.Fatalf("want shards=N: %v", err)
		}
		snapshot := s.harness.Snapshot()
		s.note()
		s.harness.Restore(snapshot, shards)
	default:
		s.Fatalf("unknown verb")
	}
	if s.flight {
		return ""
	}
	s.harness.Flush()
	return s.note()
}

// note collects what was emitted since the last call.
func (s *script) note() string {
	var said []string
	for _, e := range s.harness.emitted {
		record := e.pointer()
		var b []byte
		var err error
		if e, ok := record.(*event.Enriched); ok {
			b = appendEvent(nil, e)
		} else if b, err = json.Marshal(record); err != nil {
			b = fmt.Appendf(nil, "%+v", record)
		}
		said = append(said, fmt.Sprintf("%s %s %s\n", e.port, clock(e.time), b))
		if !slices.Contains(s.running, e.port) {
			s.emitted = append(s.emitted, said[len(said)-1])
		}
	}
	s.harness.emitted = nil
	return strings.Join(said, "")
}

// end is what the script has come to: views, state, and what was emitted.
func (s *script) end() [3]string {
	s.verb = "the end"
	s.harness.Flush()
	s.note()
	slices.Sort(s.emitted)
	var b strings.Builder
	all := s.harness.runs[0].state()
	for _, stage := range slices.Sorted(maps.Keys(all)) {
		for _, key := range slices.Sorted(maps.Keys(all[stage])) {
			fmt.Fprintf(&b, "%s %s %x\n", stage, key, all[stage][key])
		}
	}
	return [3]string{s.views(), b.String(), strings.Join(s.emitted, "")}
}

// keys is how many keys stages hold.
func (s *script) keys(names ...string) string {
	var b strings.Builder
	all := s.harness.runs[0].state()
	for _, stage := range slices.Sorted(maps.Keys(all)) {
		if len(names) == 0 || slices.Contains(names, stage) {
			fmt.Fprintf(&b, "%s %d\n", stage, len(all[stage]))
		}
	}
	return b.String()
}

func (s *script) views(names ...string) string {
	var b strings.Builder
	views := s.harness.runs[0].views()
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

func (s *script) parseEvent(line string) event.Enriched {
	f := strings.Fields(line)
	if len(f) > 0 && (strings.HasPrefix(f[0], "d")) {
		f = append([]string{f[0] + " " + f[1]}, f[2:]...)
	}
	if len(f) < 3 {
		s.Fatalf("event %q: want TIME USER ITEM [TYPE] [name=value]", line)
	}
	e := event.Enriched{Event: event.Event{Time: s.parseClock(f[0]), User: f[1], Item: f[2], Type: "view"}}
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
			s.Fatalf("event %q: unknown field %q", line, name)
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

func (s *script) parseClock(text string) event.Time {
	base, hour := day0, text
	if days, rest, ok := strings.Cut(text, " "); ok && strings.HasPrefix(days, "d") {
		n, err := strconv.Atoi(days[1:])
		if err != nil {
			s.Fatalf("time %q: %v", text, err)
		}
		base, hour = base.AddDate(0, 0, n), rest
	}
	if at, err := time.Parse("15:04:05", hour); err == nil {
		return event.FromGo(base.Add(at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))))
	}
	at, err := time.Parse(time.RFC3339, hour)
	if err != nil {
		s.Fatalf("time %q: want HH:MM:SS, dN HH:MM:SS or RFC 3339", text)
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
