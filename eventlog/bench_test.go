package eventlog

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"millrace/event"
)

// trafficBlock is a block of n events of a shop, about 60 bytes each.
func trafficBlock(rng *rand.Rand, n int) *Block {
	b := &Block{Kind: Events, Count: n}
	for i := range n {
		b.Payload = event.AppendEvent(b.Payload, &event.Event{
			ID:      fmt.Sprintf("%012x", rng.Uint64()>>16),
			User:    fmt.Sprint("user-", rng.IntN(100_000)),
			Item:    fmt.Sprint("item-", rng.IntN(10_000)),
			Type:    []string{"view", "click", "purchase"}[rng.IntN(3)],
			Time:    event.Time(1_700_000_000_000 + int64(i)*7),
			Session: fmt.Sprintf("%08x", rng.Uint32()),
		})
	}
	return b
}

// BenchmarkAppend commits blocks to the disk of the temporary directory, each
// synced: of 4096 events as under heavy load, and of one event.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{4096, 1} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{})
			blocks := make([]*Block, 64)
			payload := 0
			for i := range blocks {
				blocks[i] = trafficBlock(rand.New(rand.NewPCG(1, uint64(i))), n)
				payload += len(blocks[i].Payload)
			}
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if err := l.Append(blocks[i%len(blocks)]); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			events := float64(b.N * n)
			b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(payload)/float64(n*len(blocks)), "payload-B/event")
			if err := l.db.Flush(); err != nil {
				b.Fatal(err)
			}
			size, err := l.db.EstimateDiskUsage([]byte{prefixBlock}, []byte{prefixBlock + 1})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(size)/events, "disk-B/event")
			m := l.db.Metrics()
			total := m.Total()
			b.ReportMetric(total.WriteAmp(), "write-amplification")
		})
	}
}

// BenchmarkEncode is the CPU of a block's stored form, without the disk.
func BenchmarkEncode(b *testing.B) {
	c := testCodec(b)
	for _, n := range []int{4096, 1} {
		block := trafficBlock(rand.New(rand.NewPCG(1, 1)), n)
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			var v []byte
			for b.Loop() {
				v = c.append(v[:0], block)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

// BenchmarkScan reads blocks from the disk (and its cache), decompressed and
// checked, without decoding events.
func BenchmarkScan(b *testing.B) {
	for _, n := range []int{4096, 1} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{})
			for i := range 512 {
				if err := l.Append(trafficBlock(rand.New(rand.NewPCG(1, uint64(i))), n)); err != nil {
					b.Fatal(err)
				}
			}
			if err := l.db.Flush(); err != nil {
				b.Fatal(err)
			}
			events, bytes := 0, 0
			for b.Loop() {
				if err := l.Scan(1, func(block *Block) error {
					events += block.Count
					bytes += len(block.Payload)
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "payload-MB/s")
		})
	}
}

// BenchmarkAppender submits single events from several clients, each of which
// waits until its event is durable.
func BenchmarkAppender(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{})
			a := NewAppender(l, AppenderOptions{})
			payload := trafficBlock(rand.New(rand.NewPCG(1, 1)), 1).Payload
			var mu sync.Mutex
			var waited time.Duration
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range clients {
				wg.Go(func() {
					var mine time.Duration
					for i := c; i < b.N; i += clients {
						began := time.Now()
						ticket, err := a.Submit(Batch{Kind: Events, Payload: payload, Count: 1})
						if err == nil {
							err = ticket.Err()
						}
						if err != nil {
							b.Error(err)
							return
						}
						mine += time.Since(began)
					}
					mu.Lock()
					waited += mine
					mu.Unlock()
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "us-to-durable")
			b.ReportMetric(float64(b.N)/float64(l.Last()), "events/block")
			if err := a.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
