package checkpoint

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// situation is a server whose checkpoints are well, as changed by a test.
func situation(n int, change func(i int, r *Record)) *Status {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	s := &Status{Policy: Policy{Interval: 10 * time.Second}, Now: now, Opened: now.Add(-time.Hour), Behind: true}
	for i := range n {
		r := Record{
			Block: uint64(i + 1), Started: now.Add(time.Duration(i-n) * 10 * time.Second), Duration: 50 * time.Millisecond,
			Stall: time.Millisecond, Bytes: 1 << 20, Keys: 1000, TotalBytes: 100 << 20, LiveBytes: 100 << 20,
		}
		if change != nil {
			change(i, &r)
		}
		s.History = append(s.History, r)
	}
	s.Summary = Summarize(s.History)
	return s
}

func with(s *Status, change func(s *Status)) *Status {
	change(s)
	return s
}

func each(change func(r *Record)) func(int, *Record) {
	return func(_ int, r *Record) { change(r) }
}

var adviceCases = []struct {
	name      string
	status    *Status
	advice    string // LEVEL CODE of each
	value     float64
	threshold float64
	says      string
}{
	{"well", situation(100, nil), "info well", 0, 0, "All is well"},
	{"one", situation(1, nil), "info well", 0, 0, "All is well"},
	{"none yet", with(situation(0, nil), func(s *Status) { s.Opened = s.Now }), "info none", 0, 1, "no checkpoint yet"},

	{"half of the interval", situation(9, each(func(r *Record) { r.Duration = 5 * time.Second })), "info well", 0, 0, ""},
	{"more than that", situation(9, each(func(r *Record) { r.Duration = 6 * time.Second })), "warning duration", 6000, 5000, "checkpoint_interval to 24s"},
	{"all of the interval", situation(9, each(func(r *Record) { r.Duration = 11 * time.Second })), "critical duration", 11000, 10000, "11s on average"},
	{"without an interval", with(situation(9, each(func(r *Record) { r.Duration = 6 * time.Second })), func(s *Status) { s.Policy.Interval = -1 }), "info well", 0, 0, ""},

	{"slower and slower", situation(30, func(i int, r *Record) { r.Duration = time.Duration(1+i/10) * 100 * time.Millisecond }), "warning slower", 3, 2, "300ms of late, 100ms earlier"},
	{"slower, too few", situation(11, func(i int, r *Record) { r.Duration = time.Duration(1+i) * 100 * time.Millisecond }), "info well", 0, 0, ""},
	{"slower, but quick", situation(30, func(i int, r *Record) { r.Duration = time.Duration(1+i) * time.Millisecond }), "info well", 0, 0, ""},
	{"one is slow", situation(30, func(i int, r *Record) {
		if i == 15 {
			r.Duration = 9 * time.Second
		}
	}), "info well", 0, 0, ""},

	{"larger and larger", situation(30, func(i int, r *Record) { r.Bytes = int64(1+i/10) << 20 }), "warning larger", 3, 2, "3 MiB of late, 1 MiB earlier"},
	{"larger, but small", situation(30, func(i int, r *Record) { r.Bytes = int64(1+i) << 10 }), "info well", 0, 0, ""},
	{"large", situation(3, each(func(r *Record) { r.Bytes = 3 << 29 })), "warning large", 3 << 29, 1 << 30, "wrote 1.5 GiB"},

	{"state grows", situation(30, func(i int, r *Record) { r.TotalBytes = int64(1+i/10) * 100 << 20 }), "info growing", 3, 1.5, "300 MiB of late"},
	{"state grows no more", situation(30, func(i int, r *Record) { r.TotalBytes = min(int64(1+i/10), 2) * 100 << 20 }), "info well", 0, 0, ""},
	{"small state grows", situation(30, func(i int, r *Record) { r.TotalBytes = int64(1+i) << 10 }), "info well", 0, 0, ""},

	{"stall", situation(9, func(i int, r *Record) {
		if i == 3 {
			r.Stall = 7500 * time.Microsecond
		}
	}), "warning stall", 7.5, 5, "waited 7.5ms"},
	{"long stall", situation(9, each(func(r *Record) { r.Stall = time.Second })), "critical stall", 1000, 100, "waited 1s"},

	{"a tenth fails", situation(10, func(i int, r *Record) { r.Failures = max(0, i-8) }), "info well", 0, 0, ""},
	{"a fifth fails", situation(10, func(i int, r *Record) { r.Failures = max(0, i-7) }), "warning failures", 20, 10, "2 of the last 10"},
	{"most fail", situation(10, each(func(r *Record) { r.Failures = 1 })), "critical failures", 100, 50, "10 of the last 10"},
	{"too few to say", situation(4, each(func(r *Record) { r.Failures = 1 })), "info well", 0, 0, ""},
	{"one fails now", with(situation(4, nil), func(s *Status) {
		s.Failing, s.InProgress = errors.New("no"), &Progress{Block: 9, Failures: 7}
	}), "critical failing", 7, 0, "block 9 has failed 7 times"},
	{"timeouts", situation(20, func(i int, r *Record) {
		if i == 3 {
			r.Failure, r.Failures, r.Expired, r.Duration = "no", 1, true, time.Minute
		}
	}), "warning timeouts", 1, 0, "the longest 1m0s"},

	{"none for long", with(situation(3, nil), func(s *Status) { s.Now = s.Now.Add(time.Minute) }), "critical overdue", 69950, 30000, "for 1m10s"},
	{"none for long, but nothing to store", with(situation(3, nil), func(s *Status) { s.Now, s.Behind = s.Now.Add(time.Minute), false }), "info well", 0, 0, ""},
	{"none for long, as no server runs", with(situation(3, nil), func(s *Status) { s.Now, s.Opened = s.Now.Add(time.Hour), time.Time{} }), "info well", 0, 0, ""},
	{"none since the start", with(situation(0, nil), func(s *Status) {}), "critical overdue, info none", 3600000, 30000, "1h0m0s"},
	{"the pause is long", with(situation(3, nil), func(s *Status) { s.Now, s.Policy.MinPause = s.Now.Add(time.Minute), time.Hour }), "info pause", 9950, 3600000, "only 10s"},

	{"much that is obsolete", situation(3, each(func(r *Record) { r.TotalBytes = 700 << 20 })), "warning stored", 7, 6, "700 MiB, 7.0 times"},
	{"much, but small", situation(3, each(func(r *Record) { r.TotalBytes, r.LiveBytes = 60<<20, 1 })), "info well", 0, 0, ""},
	{"not known", situation(3, each(func(r *Record) { r.LiveBytes = 0 })), "info well", 0, 0, ""},
	{"full ones", situation(9, func(i int, r *Record) { r.Full = i%3 == 0 }), "warning full", 3, 2, "3 of the last 9"},
	{"two full ones", situation(9, func(i int, r *Record) { r.Full = i%5 == 0 }), "info well", 0, 0, ""},

	// The most urgent comes first.
	{"much at once", situation(9, each(func(r *Record) { r.Duration, r.Stall, r.Bytes = time.Minute, 6*time.Millisecond, 1<<40 })),
		"critical duration, warning stall, warning large", 60000, 10000, "1m0s"},
}

func TestAdvise(t *testing.T) {
	for _, c := range adviceCases {
		t.Run(c.name, func(t *testing.T) {
			list := Advise(c.status)
			var got []string
			for _, a := range list {
				got = append(got, string(a.Level)+" "+a.Code)
				if a.Text == "" || !strings.HasSuffix(a.Text, ".") || a.Unit == "" && a.Code != "well" {
					t.Errorf("%+v is not whole", a)
				}
			}
			if strings.Join(got, ", ") != c.advice {
				t.Fatalf("%q, want %s: %+v", got, c.advice, list)
			}
			if a := list[0]; a.Value != c.value || a.Threshold != c.threshold || !strings.Contains(a.Text, c.says) {
				t.Errorf("%+v, want %v of %v, %q", a, c.value, c.threshold, c.says)
			}
		})
	}
}

// All that can be said at once.
func TestAdviceOfABadDay(t *testing.T) {
	s := situation(30, func(i int, r *Record) {
		r.Duration, r.Stall, r.Bytes = time.Duration(i+1)*time.Second, time.Second, int64(i+1)<<28
		r.TotalBytes, r.LiveBytes, r.Full, r.Failures = int64(i+1)<<30, 1<<20, i%4 == 0, 1
		if i%9 == 4 {
			r.Expired, r.Failure = true, "late"
		}
	})
	s.Policy.MinPause, s.Now = 20*time.Second, s.Now.Add(time.Hour)
	s.Failing, s.InProgress = errors.New("no"), &Progress{Block: 31, Failures: 1}
	var codes []string
	for _, a := range Advise(s) {
		codes = append(codes, a.Code)
	}
	slices.Sort(codes)
	want := "duration failing failures full growing large larger overdue pause slower stall stored timeouts"
	if got := strings.Join(codes, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The documentation lists every code.
func TestAdviceIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("advice.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`Code: "([a-z]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) != len(rules)+1 {
		t.Errorf("%d codes of %d rules", len(codes), len(rules))
	}
	for _, c := range codes {
		if !strings.Contains(string(text), "| `"+c[1]+"` | ") {
			t.Errorf("docs/operations.md does not list %s", c[1])
		}
	}
}

func TestSizesInWords(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B", 999: "999 B", 1000: "1000 B", 1023: "1023 B", 1 << 10: "1 KiB", 1010 << 10: "1010 KiB",
		2.5 * (1 << 20): "2.5 MiB", 1023 << 20: "1023 MiB", 3 << 30: "3.0 GiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%g bytes are told as %q, want %q", n, got, want)
		}
	}
}
