package checkpoints

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/cmd/millrace/savepoint"
	"millrace/serve/api"
)

// shownRecords is how many checkpoints of the history people are shown.
const shownRecords = 20

// bodyText is what a server says, for people.
func bodyText(b *api.CheckpointsBody) string {
	var t strings.Builder
	if p := b.InProgress; p != nil {
		fmt.Fprintf(&t, "in progress: block %d, %s for %v", p.Block, p.Phase, duration(p.RunningMs))
		if p.Failures > 0 {
			fmt.Fprintf(&t, ", %d tries failed", p.Failures)
		}
		t.WriteString("\n")
	}
	history(&t, b, "since the start ")
	return t.String()
}

// offlineText is what a data directory says, for people.
func offlineText(o *Offline) string {
	var t strings.Builder
	if l := o.Latest; l == nil {
		t.WriteString("there is no checkpoint: the next start replays the whole log\n")
	} else {
		fmt.Fprintf(&t, "latest checkpoint: block %d at %s, %d events, stream time %s\n", l.Block, l.Time, l.Events, cmp.Or(l.StreamTime, "none"))
		fmt.Fprintf(&t, "%d keys, %s; %s on disk (%s); the next start replays %d blocks\n", l.Keys, size(float64(l.Bytes)), size(float64(l.Stored)), l.Backend, l.Replay)
		w := tabwriter.NewWriter(&t, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "STAGE\tSTATE VERSION\tKEYS\tBYTES\n")
		for _, s := range l.Stages {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", s.Name, s.StateVersion, s.Keys, size(float64(s.Bytes)))
		}
		_ = w.Flush() // to memory
	}
	if len(o.Retained) > 0 {
		t.WriteString("\nin the store:\n")
		t.WriteString(savepoint.ListText(o.Retained))
	}
	history(&t, &o.CheckpointsBody, "")
	return t.String()
}

// history writes the latest checkpoints, what they come to, and advice; since
// says of when the counts are.
func history(t *strings.Builder, b *api.CheckpointsBody, since string) {
	if t.Len() > 0 {
		t.WriteString("\n")
	}
	list := b.Checkpoints[max(0, len(b.Checkpoints)-shownRecords):]
	w := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
	if len(list) > 0 {
		fmt.Fprintf(w, "BLOCK\tSTARTED\tDURATION\tSTALL\tWRITTEN\tKEYS\tSTORED\tFAILED\n")
	}
	for _, c := range list {
		failed := ""
		if c.Failures > 0 {
			failed = strings.TrimSpace(fmt.Sprintf("%d times %s", c.Failures, c.Failure))
		}
		fmt.Fprintf(w, "%d\t%s\t%v\t%v\t%s\t%d\t%s\t%s\n",
			c.Block, c.Started, duration(c.DurationMs), duration(c.StallMs), size(float64(c.Bytes)), c.Keys, size(float64(c.TotalBytes)), failed)
	}
	if s := b.Summary; s.Count > 0 {
		fmt.Fprintf(w, "\n\tAVERAGE\tMIN\tMAX\n")
		fmt.Fprintf(w, "duration\t%v\t%v\t%v\n", duration(s.DurationMs.Average), duration(s.DurationMs.Min), duration(s.DurationMs.Max))
		fmt.Fprintf(w, "stall\t%v\t%v\t%v\n", duration(s.StallMs.Average), duration(s.StallMs.Min), duration(s.StallMs.Max))
		fmt.Fprintf(w, "written\t%s\t%s\t%s\n", size(s.Bytes.Average), size(s.Bytes.Min), size(s.Bytes.Max))
		fmt.Fprintf(w, "pause\t%v\t%v\t%v\n", duration(s.PauseMs.Average), duration(s.PauseMs.Min), duration(s.PauseMs.Max))
	}
	_ = w.Flush() // to memory
	fmt.Fprintf(t, "%d in the history; %s%d completed, %d tries failed\n", b.Summary.Count, since, b.Summary.Completed, b.Summary.Failed)
	fmt.Fprintf(t, "interval %v, pause at least %v, timeout %s, %s\n",
		duration(b.Policy.IntervalMs), duration(b.Policy.MinPauseMs), timeout(b.Policy.TimeoutMs), tolerated(b.Policy.ToleratedFailures))
	if f := b.LastFailure; f != nil {
		fmt.Fprintf(t, "last failure: block %d at %s: %s\n", f.Block, f.Time, f.Reason)
	}
	t.WriteString("\n")
	for _, a := range b.Advice {
		fmt.Fprintf(t, "%s: %s\n", a.Level, a.Text)
	}
}

func timeout(ms float64) string {
	if ms == 0 {
		return "none"
	}
	return duration(ms).String()
}

func tolerated(n int) string {
	if n < 0 {
		return "any number of failures is tolerated"
	}
	return fmt.Sprintf("%d failures in a row are tolerated", n)
}

func duration(ms float64) time.Duration {
	d := time.Duration(ms * float64(time.Millisecond))
	if d >= time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func size(n float64) string { return savepoint.Size(uint64(n)) }
