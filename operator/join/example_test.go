package join_test

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/join"
	"millrace/operator/operatortest"
	"millrace/operator/window"
)

// Impressions that were clicked within ten seconds, and those that were not.
func ExampleInterval() {
	topology, source := operator.NewTopology[input]()
	shown, clicked := sides(source)
	join.Interval(shown, clicked, join.Spec[string, impression, click, string]{
		Name:     "clicked or not",
		LeftKey:  func(l *impression) string { return l.User },
		RightKey: func(r *click) string { return r.User },
		Lower:    0, Upper: 10 * event.Second,
		Join: func(l *impression, r *click, emit func(string)) {
			emit(fmt.Sprintf("%s clicked impression %d", l.User, l.N))
		},
		LeftOnly: func(l *impression, emit func(string)) {
			emit(fmt.Sprintf("%s did not click impression %d", l.User, l.N))
		},
		Left: impressions, Right: clicks,
	})

	e := operatortest.New[input](topology, 1, 0, 0)
	e.Emitted = func(_, _ string, m operator.Meta, record any) { fmt.Println(m.Time, *record.(*string)) }
	e.Send(1000, &input{user: "ann", n: 1})
	e.Send(3000, &input{user: "bob", n: 2})
	e.Send(9000, &input{user: "ann", click: true})
	e.Send(60000, &input{user: "bob", click: true})
	// Output:
	// 1970-01-01T00:00:09.000Z ann clicked impression 1
	// 1970-01-01T00:00:13.001Z bob did not click impression 2
}

// How many impressions and clicks each user had in a minute.
func ExampleWindow() {
	topology, source := operator.NewTopology[input]()
	shown, clicked := sides(source)
	join.Window(shown, clicked, join.WindowSpec[string, impression, click, string]{
		Name:     "minutes",
		LeftKey:  func(l *impression) string { return l.User },
		RightKey: func(r *click) string { return r.User },
		Windows:  window.Tumbling(event.Minute),
		CoGroup: func(w window.Window[string], left []impression, right []click, emit func(string)) {
			emit(fmt.Sprintf("%s: %d impressions, %d clicks", w.Key, len(left), len(right)))
		},
		Left: impressions, Right: clicks,
	})

	e := operatortest.New[input](topology, 1, 0, 0)
	e.Emitted = func(_, _ string, m operator.Meta, record any) { fmt.Println(m.Time, *record.(*string)) }
	e.Send(1000, &input{user: "ann", n: 1})
	e.Send(2000, &input{user: "ann", n: 2})
	e.Send(3000, &input{user: "ann", click: true})
	e.Watermark(event.MaxTime)
	// Output:
	// 1970-01-01T00:00:59.999Z ann: 2 impressions, 1 clicks
}
