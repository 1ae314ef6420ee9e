package profile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/reference"
)

// Interests over a million events, a row after each event with the user's five
// highest interests: the rows' checksum is the one that Flink printed.
func TestInterestsAreFlinks(t *testing.T) {
	const events, want = 1_000_000, 0xe674677d0565e098
	var categories [50]string
	var items [50]event.Item
	for i := range categories {
		categories[i] = fmt.Sprintf("%02d", i)
		items[i] = event.Item{Categories: categories[i : i+1]}
	}
	types := [...]string{event.TypeView, event.TypeClick, event.TypeLike, event.TypePurchase}
	c := &operator.Context{}
	op := stage(Defaults(), event.DefaultTypes()).New(operator.NewPorts(c, nil, nil))
	states := make([]state, reference.DefaultUsers)
	sum := uint64(0)
	source := reference.Generator{Events: events}
	for partition := range source.Partitions() {
		reader, err := source.Open(partition, 0)
		if err != nil {
			t.Fatal(err)
		}
		n, err := reader.Read(events, func(ts event.Time, in *reference.Event) {
			e := event.Enriched{Event: event.Event{Type: types[in.Type], Time: ts}, ItemInfo: &items[in.Item%50]}
			c.Begin(operator.Meta{Time: ts})
			op.Fold(c, "", &states[in.User], &e)
			row := reference.Hash(reference.Hash(4, in.User), uint64(ts))
			for _, x := range top(states[in.User].interests, 5) {
				row = reference.Hash(row, uint64(x.Category[0]-'0')*10+uint64(x.Category[1]-'0'))
				row = reference.Hash(row, math.Float64bits(x.Score))
			}
			sum += row
		})
		if n != events/source.Partitions() || !errors.Is(err, io.EOF) {
			t.Fatalf("partition %d has %d events: %v", partition, n, err)
		}
	}
	if sum != want {
		t.Errorf("checksum %016x, Flink's is %016x", sum, uint64(want))
	}
}
