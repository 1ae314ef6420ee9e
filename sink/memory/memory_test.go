package memory_test

import (
	"testing"

	"millrace/sink"
	"millrace/sink/memory"
	"millrace/sink/sinktest"
)

type target struct{ memory.Topics }

func (t *target) New(name string) sink.Sink { return memory.New(&t.Topics, name) }

func TestMemory(t *testing.T) {
	sinktest.Run(t, func(*testing.T) sinktest.Target { return &target{} })
}
