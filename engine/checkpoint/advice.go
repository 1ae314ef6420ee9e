package checkpoint

import (
	"fmt"
	"slices"
	"time"
)

// The thresholds of the advice. docs/operations.md lists them.
const (
	// LongShare is the part of the interval that checkpoints may take on
	// average; from the whole interval on it is critical.
	LongShare = 0.5
	// GrowthFactor is how many times the earliest third of the history the
	// latest third may be: of durations beyond GrowthDuration, of sizes beyond
	// GrowthBytes. At least GrowthRecords checkpoints are compared.
	GrowthFactor   = 2.0
	GrowthDuration = 100 * time.Millisecond
	GrowthBytes    = 1 << 20
	GrowthRecords  = 12
	// StateGrowthFactor is the same for what is stored in all, which is looked
	// at from StateBytes on, and only if the middle third lies between.
	StateGrowthFactor = 1.5
	StateBytes        = 64 << 20
	// LargeBytes is how much one checkpoint may write.
	LargeBytes = 1 << 30
	// LongStall is how long a block may wait for a checkpoint, and VeryLongStall
	// from when on it is critical.
	LongStall     = 5 * time.Millisecond
	VeryLongStall = 100 * time.Millisecond
	// FailureShare is the part of checkpoints that may fail, of at least
	// FailureRecords, and ManyFailures from when on it is critical.
	FailureShare   = 0.1
	ManyFailures   = 0.5
	FailureRecords = 5
	// FullCommits is how many checkpoints of the history may have all of the
	// state because there was none before them.
	FullCommits = 2
	// OverdueIntervals is for how many intervals there may be no checkpoint.
	OverdueIntervals = 3
	// StoredFactor is how many times what is live the backend may take, from
	// StateBytes on.
	StoredFactor = 6.0
)

// Level says how much an advice matters.
type Level string

// The levels.
const (
	Info     Level = "info"     // worth knowing
	Warning  Level = "warning"  // to be changed in time
	Critical Level = "critical" // to be changed now
)

// Advice is what one figure suggests.
type Advice struct {
	Level Level
	Code  string // which one it is, such as "stall"
	// Value is what was measured, in Unit: ms, bytes, %, times or checkpoints.
	// Threshold is what it may be.
	Value, Threshold float64
	Unit             string
	Text             string // what is wrong, and what to do
}

// Well is the advice where there is nothing to say.
var Well = Advice{Level: Info, Code: "well", Text: "All is well: checkpoints are stored in time, and quickly."}

// rules are all there are, in the order in which advice of one level is given.
var rules = []func(*Status) (Advice, bool){
	failing, overdue, failures, timeouts, slow, slower, stall, large, larger, growing, bloated, full, pauses, none,
}

// Advise says what can be done about checkpoints, the most urgent first, or
// that all is well.
func Advise(s *Status) []Advice {
	var list []Advice
	for _, rule := range rules {
		if a, applies := rule(s); applies {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return []Advice{Well}
	}
	urgency := map[Level]int{Critical: 0, Warning: 1, Info: 2}
	slices.SortStableFunc(list, func(a, b Advice) int { return urgency[a.Level] - urgency[b.Level] })
	return list
}

// completed are the checkpoints that did not fail.
func (s *Status) completed() []Record {
	return slices.DeleteFunc(slices.Clone(s.History), func(r Record) bool { return r.Failure != "" })
}

func failing(s *Status) (Advice, bool) {
	if s.Failing == nil || s.InProgress == nil || s.InProgress.Failures == 0 {
		return Advice{}, false
	}
	n := s.InProgress.Failures
	return Advice{
		Level: Critical, Code: "failing", Value: float64(n), Unit: "times",
		Text: fmt.Sprintf("The checkpoint of block %d has failed %s: health and the server's log say why. Until it succeeds a restart replays more "+
			"and more of the log; nothing is lost.", s.InProgress.Block, times(n)),
	}, true
}

func overdue(s *Status) (Advice, bool) {
	p := s.Policy
	if p.Interval <= 0 || s.Opened.IsZero() || !s.Behind {
		return Advice{}, false
	}
	since := s.Opened
	for _, r := range s.completed() {
		if end := r.Started.Add(r.Duration); end.After(since) {
			since = end
		}
	}
	age, limit := s.Now.Sub(since), max(OverdueIntervals*p.Interval, 2*p.MinPause)
	return Advice{
		Level: Critical, Code: "overdue", Value: milliseconds(age), Threshold: milliseconds(limit), Unit: "ms",
		Text: fmt.Sprintf("No checkpoint has been stored for %v, which is more than %v: a restart would replay all of that. See whether the disk "+
			"is full or stuck, and lengthen checkpoint_interval if checkpoints take longer than it.", rounded(age), rounded(limit)),
	}, age > limit
}

func failures(s *Status) (Advice, bool) {
	failed := 0
	for _, r := range s.History {
		if r.Failures > 0 {
			failed++
		}
	}
	if len(s.History) < FailureRecords || failed == 0 {
		return Advice{}, false
	}
	share := float64(failed) / float64(len(s.History))
	a := Advice{
		Level: Warning, Code: "failures", Value: 100 * share, Threshold: 100 * FailureShare, Unit: "%",
		Text: fmt.Sprintf("%d of the last %d checkpoints failed at least once: the server's log says why. Look after the disk of the data directory.",
			failed, len(s.History)),
	}
	if share > ManyFailures {
		a.Level, a.Threshold = Critical, 100*ManyFailures
	}
	return a, share > FailureShare
}

func timeouts(s *Status) (Advice, bool) {
	expired, longest := 0, time.Duration(0)
	for _, r := range s.History {
		if r.Expired {
			expired++
			longest = max(longest, r.Duration)
		}
	}
	return Advice{
		Level: Warning, Code: "timeouts", Value: float64(expired), Unit: "checkpoints",
		Text: fmt.Sprintf("%d of the last %d checkpoints took longer than checkpoint_timeout, the longest %v: raise it beyond that, or use a faster disk.",
			expired, len(s.History), rounded(longest)),
	}, expired > 0
}

func slow(s *Status) (Advice, bool) {
	interval, average := s.Policy.Interval, s.Summary.Duration.Average
	if interval <= 0 {
		return Advice{}, false
	}
	limit := time.Duration(LongShare * float64(interval))
	a := Advice{
		Level: Warning, Code: "duration", Value: milliseconds(average), Threshold: milliseconds(limit), Unit: "ms",
		Text: fmt.Sprintf("Checkpoints take %v on average, and the interval is %v: lengthen checkpoint_interval to %v, or use a faster disk.",
			rounded(average), rounded(interval), rounded(max(time.Second, 4*average.Round(time.Second)))),
	}
	if average > interval {
		a.Level, a.Threshold = Critical, milliseconds(interval)
	}
	return a, average > limit
}

// thirds are the averages of some figure of the earliest, the middle and the
// latest third of the history.
func (s *Status) thirds(figure func(*Record) float64) (early, middle, late float64, known bool) {
	list := s.completed()
	if len(list) < GrowthRecords {
		return 0, 0, 0, false
	}
	n := len(list) / 3
	average := func(part []Record) float64 {
		sum := 0.0
		for i := range part {
			sum += figure(&part[i])
		}
		return sum / float64(len(part))
	}
	return average(list[:n]), average(list[n : len(list)-n]), average(list[len(list)-n:]), true
}

func slower(s *Status) (Advice, bool) {
	early, _, late, known := s.thirds(func(r *Record) float64 { return float64(r.Duration) })
	if !known || late <= float64(GrowthDuration) || late <= GrowthFactor*early {
		return Advice{}, false
	}
	return Advice{
		Level: Warning, Code: "slower", Value: late / early, Threshold: GrowthFactor, Unit: "times",
		Text: fmt.Sprintf("Checkpoints take longer and longer: %v of late, %v earlier in the history. If they have become larger too there is more "+
			"traffic, or more state; if not, the disk has become slower.", rounded(time.Duration(late)), rounded(time.Duration(early))),
	}, true
}

func larger(s *Status) (Advice, bool) {
	early, _, late, known := s.thirds(func(r *Record) float64 { return float64(r.Bytes) })
	if !known || late <= GrowthBytes || late <= GrowthFactor*early {
		return Advice{}, false
	}
	return Advice{
		Level: Warning, Code: "larger", Value: late / max(early, 1), Threshold: GrowthFactor, Unit: "times",
		Text: fmt.Sprintf("Checkpoints write more and more: %s of late, %s earlier in the history. More keys change between two of them: see whether "+
			"there is more traffic, or whether single keys have become large.", size(late), size(early)),
	}, true
}

func growing(s *Status) (Advice, bool) {
	early, middle, late, known := s.thirds(func(r *Record) float64 { return float64(r.TotalBytes) })
	if !known || late <= StateBytes || early <= 0 || late <= StateGrowthFactor*early || middle <= early || late <= middle {
		return Advice{}, false
	}
	return Advice{
		Level: Info, Code: "growing", Value: late / early, Threshold: StateGrowthFactor, Unit: "times",
		Text: fmt.Sprintf("The stored state grows: %s of late, %s earlier in the history. With new users and items it has to; if it goes on without them, "+
			"some state is never dropped: see which stage has ever more keys in GET /v1/stats.", size(late), size(early)),
	}, true
}

func large(s *Status) (Advice, bool) {
	largest := s.Summary.Bytes.Max
	return Advice{
		Level: Warning, Code: "large", Value: float64(largest), Threshold: LargeBytes, Unit: "bytes",
		Text: fmt.Sprintf("A checkpoint wrote %s: shorten checkpoint_interval, so that less changes in between.", size(float64(largest))),
	}, largest > LargeBytes
}

func stall(s *Status) (Advice, bool) {
	longest := s.Summary.Stall.Max
	a := Advice{
		Level: Warning, Code: "stall", Value: milliseconds(longest), Threshold: milliseconds(LongStall), Unit: "ms",
		Text: fmt.Sprintf("A block waited %v for a checkpoint, at most %v are to be expected: give the process more cores or more memory.",
			rounded(longest), LongStall),
	}
	if longest > VeryLongStall {
		a.Level, a.Threshold = Critical, milliseconds(VeryLongStall)
	}
	return a, longest > LongStall
}

func bloated(s *Status) (Advice, bool) {
	list := s.completed()
	if len(list) == 0 {
		return Advice{}, false
	}
	last := list[len(list)-1]
	if last.LiveBytes <= 0 || last.TotalBytes <= StateBytes {
		return Advice{}, false
	}
	factor := float64(last.TotalBytes) / float64(last.LiveBytes)
	return Advice{
		Level: Warning, Code: "stored", Value: factor, Threshold: StoredFactor, Unit: "times",
		Text: fmt.Sprintf("The state directory takes %s, %.1f times what is live in memory: most of it is obsolete. A restart tidies up; if that does not "+
			"help, make a savepoint and restore it into a new directory.", size(float64(last.TotalBytes)), factor),
	}, factor > StoredFactor
}

func full(s *Status) (Advice, bool) {
	n := 0
	for _, r := range s.History {
		if r.Full {
			n++
		}
	}
	return Advice{
		Level: Warning, Code: "full", Value: float64(n), Threshold: FullCommits, Unit: "checkpoints",
		Text: fmt.Sprintf("%d of the last %d checkpoints had to store all of the state, as nothing was retained from before: each of these starts replayed "+
			"the whole log. Choose state: pebble or file, and keep the directory state.", n, len(s.History)),
	}, n > FullCommits
}

func pauses(s *Status) (Advice, bool) {
	pause, least := s.Summary.Pause.Min, s.Policy.MinPause
	return Advice{
		Level: Info, Code: "pause", Value: milliseconds(pause), Threshold: milliseconds(least), Unit: "ms",
		Text: fmt.Sprintf("Between two checkpoints there were only %v, less than checkpoint_min_pause: savepoints and deletions of users take one at once. "+
			"Make fewer savepoints if that disturbs.", rounded(pause)),
	}, least > 0 && s.Summary.Pause.Max > 0 && pause < least
}

func none(s *Status) (Advice, bool) {
	return Advice{
		Level: Info, Code: "none", Threshold: 1, Unit: "checkpoints",
		Text: "There is no checkpoint yet: after a crash the whole log is replayed.",
	}, len(s.completed()) == 0
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rounded is a duration with three figures or so.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprint(n, " times")
}

// size is a number of bytes for people.
func size(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		switch {
		case n < 999.5:
			return fmt.Sprintf("%.3g %s", n, unit)
		case n < 1<<10: // which would be 1e+03
			return fmt.Sprintf("%.0f %s", n, unit)
		}
		n /= 1 << 10
	}
	return fmt.Sprintf("%.1f GiB", n)
}
