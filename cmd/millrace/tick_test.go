package main

import (
	"log/slog"
	"testing"
	"time"

	"millrace/eventlog"
)

// A block without records is stored and applied, and is what the server appends
// when the engine asks for the time.
func TestBlocksWithoutRecords(t *testing.T) {
	c := defaultConfig()
	c.Data, c.AssociationTime = t.TempDir(), timeProcessing
	n, err := openNode(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	ticket, err := n.appender.Submit(eventlog.Batch{Kind: eventlog.Tick})
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Err(); err != nil {
		t.Fatal(err)
	}
	if err := n.engine.Wait(t.Context(), ticket.Block()); err != nil {
		t.Fatal(err)
	}
	before := n.log.Last()
	n.tick()
	for deadline := time.Now().Add(10 * time.Second); n.log.Last() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no block was appended")
		}
	}
	b, err := n.log.Read(before + 1)
	if err != nil || b.Kind != eventlog.Tick || b.Count != 0 {
		t.Errorf("got %+v, %v", b, err)
	}
}
