package window_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator/codec"
	"millrace/operator/window"
)

// semantics are tables of what windows do, in the words of what Flink does:
// what happens to a stage, then what it emits.
//
//	5 a      the input a comes, with event time 5; its key is 1
//	5 2:a    the same for key 2
//	w10      the watermark comes to 10
//	p10      processing time comes to 10
//
// Rows are "[start, end) inputs", with their key if it is not 1, and "early" or
// "late" if they are not at the end of the window. "late: a" is an input that
// comes out of the late stream.
var semantics = []struct {
	name string
	kind kind
	in   string
	want string
}{
	{"tumbling: a window begins at its start and ends before its end", kind{windows: window.Tumbling(10)},
		"0 a, 9 b, 10 c, w9, w19", "[0, 10) ab; [10, 20) c"},
	{"tumbling: nothing before the watermark is at the last moment", kind{windows: window.Tumbling(10)},
		"0 a, w8", ""},
	{"tumbling: windows are aligned to the epoch, before it too", kind{windows: window.Tumbling(10)},
		"-1 a, -10 b, -11 c, w100", "[-20, -10) c; [-10, 0) ab"},
	{"tumbling: no input, no window", kind{windows: window.Tumbling(10)},
		"0 a, 35 b, w100", "[0, 10) a; [30, 40) b"},
	{"tumbling: keys are apart", kind{windows: window.Tumbling(10)},
		"0 a, 1 2:b, w100", "[0, 10) a; [0, 10) 2:b"},
	{"tumbling: what is older than the watermark is in time while its window is open", kind{windows: window.Tumbling(10)},
		"0 a, w5, 3 b, w9", "[0, 10) ab"},
	{"tumbling: what comes after its window is late", kind{windows: window.Tumbling(10)},
		"0 a, w9, 3 b, 10 c, w100", "[0, 10) a; late: b; [10, 20) c"},
	{"tumbling: a window of late inputs only is late too", kind{windows: window.Tumbling(10)},
		"w9, 3 b, w100", "late: b"},
	{"tumbling: the end of the stream ends windows", kind{windows: window.Tumbling(10)},
		"5 a, wend", "[0, 10) a"},
	{"lateness: a late input has its window emit anew, at once", kind{windows: window.Tumbling(10), lateness: 5},
		"0 a, w9, 3 b, 4 c", "[0, 10) a; [0, 10) late ab; [0, 10) late abc"},
	{"lateness: also where the window has not emitted before", kind{windows: window.Tumbling(10), lateness: 5},
		"w9, 3 b", "[0, 10) late b"},
	{"lateness: up to it, not at it", kind{windows: window.Tumbling(10), lateness: 5},
		"0 a, w13, 1 b, w14, 2 c", "[0, 10) a; [0, 10) late ab; late: c"},
	{"sliding: an input is in size/slide windows", kind{windows: window.Sliding(10, 5)},
		"7 a, w100", "[0, 10) a; [5, 15) a"},
	{"sliding: not a multiple of the slide", kind{windows: window.Sliding(10, 4)},
		"0 a, 9 b, w100", "[-8, 2) a; [-4, 6) a; [0, 10) ab; [4, 14) b; [8, 18) b"},
	{"sliding: windows with gaps", kind{windows: window.Sliding(2, 10)},
		"1 a, 2 b, 10 c, w1000", "[0, 2) a; [10, 12) c"},
	{"sliding: what lies in a gap is late when time has passed it, as in Flink", kind{windows: window.Sliding(2, 10)},
		"w4, 5 a, w5, 5 b, w1000", "late: b"},
	{"sliding: late for some windows is in time for the others", kind{windows: window.Sliding(10, 5)},
		"7 a, w9, 7 b, w100", "[0, 10) a; [5, 15) ab"},
	{"sliding: late only when it is so for all", kind{windows: window.Sliding(10, 5)},
		"7 a, w14, 7 b", "[0, 10) a; [5, 15) a; late: b"},
	{"sliding: lateness counts for each window", kind{windows: window.Sliding(10, 5), lateness: 2},
		"7 a, w10, 7 b, w11, 7 c, w100", "[0, 10) a; [0, 10) late ab; [5, 15) abc"},
	{"session: a gap ends it", kind{windows: window.Session(10)},
		"0 a, 5 b, 16 c, w100", "[0, 15) ab; [16, 26) c"},
	{"session: a distance of just the gap does not", kind{windows: window.Session(10)},
		"0 a, 10 b, w100", "[0, 20) ab"},
	{"session: an input between two joins them", kind{windows: window.Session(10)},
		"0 a, 18 b, 9 c, w100", "[0, 28) abc"},
	{"session: out of order", kind{windows: window.Session(10)},
		"18 b, 9 c, 0 a, w100", "[0, 28) bca"},
	{"session: a late input is in time where it prolongs an open session", kind{windows: window.Session(10)},
		"10 a, w12, 1 b, w100", "[1, 20) ab"},
	{"session: a late input that would be a session of its own is late", kind{windows: window.Session(10)},
		"30 a, w25, 1 b, w100", "late: b; [30, 40) a"},
	{"session: lateness", kind{windows: window.Session(10), lateness: 10},
		"0 a, w9, 2 b, w19, 2 c, w22, 3 d", "[0, 10) a; [0, 12) ab; [0, 12) late abc; late: d"},
	{"session: within the lateness a session may go on", kind{windows: window.Session(10), lateness: 10},
		"0 a, w9, 10 b, w19", "[0, 10) a; [0, 20) ab"},
	{"count: tumbling", kind{windows: window.Count(2, 2)},
		"1 a, 2 b, 3 c, 4 2:d, wend", "[1, 3) ab"},
	{"count: sliding, first of fewer inputs", kind{windows: window.Count(4, 2)},
		"1 a, 2 b, 3 c, 4 d, 5 e, 6 f", "[1, 3) ab; [1, 5) abcd; [3, 7) cdef"},
	{"count: a step that is longer than the window", kind{windows: window.Count(2, 3)},
		"1 a, 2 b, 3 c, 4 d, 5 e, 6 f", "[2, 4) bc; [5, 7) ef"},
	{"count: late is nothing", kind{windows: window.Count(2, 2)},
		"w100, 1 a, 2 b", "[1, 3) ab"},
	{"global: by count", kind{windows: window.Global(), trigger: window.Trigger{Count: 2}},
		"1 a, 2 b, 3 c, 4 d, wend", "all early ab; all early abcd"},
	{"global: by count, purged", kind{windows: window.Global(), trigger: window.Trigger{Count: 2, Purge: true}},
		"1 a, 2 b, 3 c, 4 d, wend", "all early ab; all early cd"},
	{"global: every so often, if something has come", kind{windows: window.Global(), trigger: window.Trigger{Every: 10}},
		"1 a, w9, w10, w20, 21 b, w29, w30", "all early a; all early ab"},
	{"global: every so often in processing time", kind{windows: window.Global(), trigger: window.Trigger{EveryProcessing: 10}},
		"p5, 1 a, p9, p10, p20, 21 b, p29, p30", "all early a; all early ab"},
	{"trigger: count", kind{windows: window.Tumbling(10), trigger: window.Trigger{Count: 2}},
		"1 a, 2 b, 3 c, w9", "[0, 10) early ab; [0, 10) abc"},
	{"trigger: count, purged: the end has what is left", kind{windows: window.Tumbling(10), trigger: window.Trigger{Count: 2, Purge: true}},
		"1 a, 2 b, 3 c, w9", "[0, 10) early ab; [0, 10) c"},
	{"trigger: count, purged: nothing is left", kind{windows: window.Tumbling(10), trigger: window.Trigger{Count: 2, Purge: true}},
		"1 a, 2 b, w9", "[0, 10) early ab"},
	{"trigger: purged at the end, for what comes late", kind{windows: window.Tumbling(10), lateness: 5, trigger: window.Trigger{Count: 9, Purge: true}},
		"1 a, w9, 2 b, 3 c", "[0, 10) a; [0, 10) late b; [0, 10) late c"},
	{"trigger: every so often", kind{windows: window.Tumbling(10), trigger: window.Trigger{Every: 4}},
		"1 a, w4, 6 b, w7, w8, w9", "[0, 10) early a; [0, 10) early ab; [0, 10) ab"},
	{"trigger: every so often, windows that have begun", kind{windows: window.Sliding(10, 5), trigger: window.Trigger{Every: 4}},
		"6 a, w4, w8, w9, w12, w14", "[0, 10) early a; [0, 10) early a; [5, 15) early a; [0, 10) a; [5, 15) early a; [5, 15) a"},
	{"trigger: every so often in processing time", kind{windows: window.Tumbling(10), trigger: window.Trigger{EveryProcessing: 10}},
		"1 a, p10, 2 b, p20, w9, p30", "[0, 10) early a; [0, 10) early ab; [0, 10) ab"},
	{"trigger: count, of a session", kind{windows: window.Session(10), trigger: window.Trigger{Count: 2}},
		"1 a, 12 b, 5 c, w100", "[1, 22) early abc; [1, 22) abc"},
	{"trigger: of a session, purged", kind{windows: window.Session(10), trigger: window.Trigger{Count: 2, Purge: true}},
		"1 a, 5 b, w100", "[1, 15) early ab"},
	{"trigger: every so often, of a session", kind{windows: window.Session(10), trigger: window.Trigger{Every: 4}},
		"5 a, w8, 9 b, w12, w100", "[5, 15) early a; [5, 19) early ab; [5, 19) early ab; [5, 19) ab"},
	{"processing time: tumbling, whatever event time is", kind{windows: window.Tumbling(10), processing: true},
		"p3, 100 a, w200, 1 b, p9, p10, 5 c, p20", "[0, 10) ab; [10, 20) c"},
	{"processing time: sliding", kind{windows: window.Sliding(10, 5), processing: true},
		"p7, 0 a, p9, p10, p15", "[0, 10) a; [5, 15) a"},
	{"processing time: session", kind{windows: window.Session(10), processing: true},
		"p3, 0 a, p13, 0 b, p22, p23", "[3, 13) a; [13, 23) b"},
	{"processing time: every so often", kind{windows: window.Tumbling(10), processing: true, trigger: window.Trigger{Every: 4}},
		"p3, 0 a, p4, p8, p10", "[0, 10) early a; [0, 10) early a; [0, 10) a"},
	{"processing time: count", kind{windows: window.Count(2, 2), processing: true},
		"p3, 0 a, p4, 0 b", "[3, 5) ab"},
}

func TestSemantics(t *testing.T) {
	for _, c := range semantics {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(rows(t, c.kind, c.in, true, false), "; "); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
			}
			if c.kind.processing || c.kind.trigger != (window.Trigger{}) || !strings.HasPrefix(c.name, "tumbling") &&
				!strings.HasPrefix(c.name, "sliding") && !strings.HasPrefix(c.name, "lateness") {
				return
			}
			for _, combine := range []bool{false, true} { // in as few blocks as there can be
				got, want := rows(t, c.kind, c.in, false, combine), strings.Split(c.want, "; ")
				slices.Sort(got)
				slices.Sort(want)
				if got, want := strings.Join(got, "; "), strings.Join(want, "; "); got != want {
					t.Errorf("%s, combined: %v\n got %s\nwant %s", c.in, combine, got, want)
				}
			}
		})
	}
}

// rows does what a table says, and returns what it comes to, after every step
// or at the end.
func rows(t *testing.T, k kind, in string, each, combine bool) (got []string) {
	t.Helper()
	h := harness.Stage(t, harness.Options{}, func(source stream) {
		spec := specOf[uint64, string, string](k, "windows", byNumber)
		spec.Combine = combine
		spec.Add = func(s *string, in *visit) { *s += string(rune(in.Value)) }
		spec.Merge = func(into, from *string) { *into += *from }
		spec.Accumulator = codec.String[string]()
		spec.Result = func(w window.Window[uint64], s *string, emit func(string)) { emit(rowText(w, *s)) }
		window.Add(source, spec)
	})
	steps := strings.Split(in, ", ")
	for i, step := range steps {
		if do(t, h, step); !each && i < len(steps)-1 {
			continue
		}
		for _, r := range harness.Emitted[string](h, "windows", window.PortResults) {
			got = append(got, r.Record)
		}
		for _, r := range harness.Emitted[visit](h, "windows", window.PortLate) {
			got = append(got, "late: "+string(rune(r.Record.Value)))
		}
	}
	return got
}

func rowText(w window.Window[uint64], inputs string) string {
	bounds := fmt.Sprintf("[%d, %d)", int64(w.Start), int64(w.End))
	if w.Start == event.MinTime && w.End == event.MaxTime {
		bounds = "all"
	}
	bounds += [...]string{window.OnTime: " ", window.Early: " early ", window.Late: " late "}[w.Firing]
	if w.Key != 1 {
		bounds += fmt.Sprint(w.Key, ":")
	}
	return bounds + inputs
}

// do is one step of a table.
func do(t *testing.T, h *harness.Harness[visit], step string) {
	t.Helper()
	at := func(text string) event.Time {
		if text == "end" {
			return event.MaxTime
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%q: %v", step, err)
		}
		return event.Time(n)
	}
	switch step[0] {
	case 'w':
		h.Watermark(at(step[1:]))
	case 'p':
		h.ProcessingTime(at(step[1:]))
	default:
		when, what, _ := strings.Cut(step, " ")
		v := visit{Who: 1, Value: int64(what[len(what)-1])}
		if who, _, keyed := strings.Cut(what, ":"); keyed {
			v.Who = uint64(at(who))
		}
		h.Send(at(when), v)
	}
}
