package eventlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"millrace/event"
)

// gate is a file system whose write-ahead log cannot be written while it is
// shut, so that a test decides what waits for a commit.
type gate struct {
	mu      sync.RWMutex
	arrived chan struct{} // signalled when a write waits
	fs      vfs.FS
}

func newGate() *gate {
	g := &gate{arrived: make(chan struct{}, 1)}
	g.fs = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && isWAL(op.Path) {
			if !g.mu.TryRLock() {
				select {
				case g.arrived <- struct{}{}:
				default:
				}
				g.mu.RLock()
			}
			g.mu.RUnlock()
		}
		return nil
	}))
	return g
}

func (g *gate) shut() { g.mu.Lock() }
func (g *gate) open() { g.mu.Unlock() }

// config is a batch that is a block of its own, and events are n records that
// can be joined.
func config(text string) Batch { return Batch{Kind: Config, Payload: []byte(text), Count: 1} }

func events(n int, text string, positions ...Position) Batch {
	return Batch{Kind: Events, Payload: []byte(text), Count: n, Positions: positions}
}

// of is a batch of a partition.
func of(partition string, b Batch) Batch {
	b.Partition = partition
	return b
}

func submit(t *testing.T, a *Appender, b Batch) *Ticket {
	t.Helper()
	ticket, err := a.Submit(b)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// waiting is what waits together, and the blocks that it becomes.
var waiting = []struct {
	name    string
	o       AppenderOptions
	batches []Batch
	blocks  []string
	tickets []string // block and first record
}{
	{
		name:    "events are joined in order",
		batches: []Batch{events(2, "ab"), events(1, "c"), events(3, "def")},
		blocks:  []string{`2 events t=1 n=6 [] "abcdef"`},
		tickets: []string{"2/0", "2/2", "2/3"},
	},
	{
		name:    "other kinds are blocks of their own",
		batches: []Batch{events(1, "a"), config("x"), config("y"), events(1, "b"), events(1, "c")},
		blocks: []string{
			`2 events t=1 n=1 [] "a"`, `3 config t=1 n=1 [] "x"`, `4 config t=1 n=1 [] "y"`, `5 events t=1 n=2 [] "bc"`,
		},
		tickets: []string{"2/0", "3/0", "4/0", "5/0", "5/1"},
	},
	{
		name:    "a block ends at its number of records",
		o:       AppenderOptions{MaxBlockEvents: 3},
		batches: []Batch{events(2, "ab"), events(1, "c"), events(1, "d"), events(2, "ef"), events(1, "g")},
		blocks:  []string{`2 events t=1 n=3 [] "abc"`, `3 events t=1 n=3 [] "def"`, `4 events t=1 n=1 [] "g"`},
		tickets: []string{"2/0", "2/2", "3/0", "3/1", "4/0"},
	},
	{
		name:    "a block ends at its bytes",
		o:       AppenderOptions{MaxBlockBytes: 5},
		batches: []Batch{events(1, "abc"), events(1, "de"), events(1, "fgh"), events(1, "ijk")},
		blocks:  []string{`2 events t=1 n=2 [] "abcde"`, `3 events t=1 n=1 [] "fgh"`, `4 events t=1 n=1 [] "ijk"`},
		tickets: []string{"2/0", "2/1", "3/0", "4/0"},
	},
	{
		name:    "a larger batch is one block",
		o:       AppenderOptions{MaxBlockEvents: 3},
		batches: []Batch{events(1, "a"), events(5, "bcdef"), events(1, "g")},
		blocks:  []string{`2 events t=1 n=1 [] "a"`, `3 events t=1 n=5 [] "bcdef"`, `4 events t=1 n=1 [] "g"`},
		tickets: []string{"2/0", "3/0", "4/0"},
	},
	{
		name: "the last position of a source counts",
		batches: []Batch{
			events(1, "a", Position{"x", 1}), events(1, "b", Position{"y", 7}, Position{"x", 2}), events(0, "", Position{"y", 8}),
		},
		blocks:  []string{`2 events t=1 n=2 [{x 2} {y 8}] "ab"`},
		tickets: []string{"2/0", "2/1", "2/2"},
	},
	{
		name: "where records came from is kept",
		batches: []Batch{
			events(2, "ab"), events(1, "c"), of("p", events(0, "")), of("p", events(2, "de")), of("q", events(1, "f")), events(1, "g"),
		},
		blocks:  []string{`2 events t=1 n=7 [] "abcdefg" of [{ 3} {p 2} {q 1} { 1}]`},
		tickets: []string{"2/0", "2/2", "2/3", "2/3", "2/5", "2/6"},
	},
	{
		name:    "a partition that has no records yet",
		batches: []Batch{of("p", events(0, "", Position{"p", 5})), of("q", events(0, ""))},
		blocks:  []string{`2 events t=1 n=0 [{p 5}] "" of [{p 0} {q 0}]`},
		tickets: []string{"2/0", "2/0"},
	},
}

func TestWhatWaitsTogetherSharesABlock(t *testing.T) {
	leakCheck(t)
	for _, test := range waiting {
		t.Run(test.name, func(t *testing.T) {
			g := newGate()
			l := open(t, "log", Options{FS: g.fs})
			var delivered []string
			test.o.Now = func() event.Time { return 1 }
			test.o.Deliver = func(b *Block) { delivered = append(delivered, show(b)) }
			a := NewAppender(l, test.o)
			g.shut()
			tickets := []*Ticket{submit(t, a, config("first"))}
			<-g.arrived
			for _, b := range test.batches {
				tickets = append(tickets, submit(t, a, b))
				clear(b.Payload) // it was copied
			}
			select {
			case <-tickets[1].Done():
				t.Error("done before it was written")
			default:
			}
			g.open()
			var got []string
			for _, ticket := range tickets[1:] {
				if err := ticket.Err(); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%d/%d", ticket.Block(), ticket.First()))
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.tickets) {
				t.Errorf("tickets %v, want %v", got, test.tickets)
			}
			want := append([]string{`1 config t=1 n=1 [] "first"`}, test.blocks...)
			if got := scanAll(t, l, 1); !slices.Equal(got, want) {
				t.Errorf("stored %q\nwant   %q", got, want)
			}
			if !slices.Equal(delivered, want) {
				t.Errorf("delivered %q\nwant      %q", delivered, want)
			}
		})
	}
}

func TestAFullQueueRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     AppenderOptions
		takes []Batch
		full  Batch
	}{
		{"of records", AppenderOptions{MaxQueuedEvents: 4}, []Batch{events(2, "ab"), events(1, "c")}, events(2, "de")},
		{"of bytes", AppenderOptions{MaxQueuedBytes: 10}, []Batch{events(2, "ab")}, config("12345")},
	} {
		t.Run(test.name, func(t *testing.T) {
			leakCheck(t)
			g := newGate()
			l := open(t, "log", Options{FS: g.fs})
			a := NewAppender(l, test.o)
			g.shut()
			// The commit that runs counts as well: 1 record of 4 bytes.
			last := submit(t, a, config("1234"))
			<-g.arrived
			for _, b := range test.takes {
				last = submit(t, a, b)
			}
			queued, queuedBytes := a.Queued()
			for range 3 {
				_, err := a.Submit(test.full)
				wantErr(t, "full queue", err, ErrOverloaded)
			}
			if n, bytes := a.Queued(); n != queued || bytes != queuedBytes {
				t.Errorf("a refused batch is counted: %d, %d", n, bytes)
			}
			g.open()
			if err := last.Err(); err != nil {
				t.Fatal(err)
			}
			if n, bytes := a.Queued(); n != 0 || bytes != 0 {
				t.Errorf("%d records, %d bytes are counted when all is durable", n, bytes)
			}
			// Alone even a batch beyond the bounds is taken.
			large := submit(t, a, events(100, strings.Repeat("x", 100)))
			if err := errors.Join(large.Err(), a.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestBatchesThatCannotBeStoredHarmNobodyElse(t *testing.T) {
	l := openMem(t)
	a := NewAppender(l, AppenderOptions{})
	for name, b := range map[string]Batch{
		"no kind":        {},
		"negative count": {Kind: Events, Count: -1},
		"not a change":   {Kind: Catalogue, Payload: []byte("nonsense")},
		"large":          {Kind: Events, Payload: make([]byte, MaxPayloadBytes+1)},
	} {
		_, err := a.Submit(b)
		wantErr(t, name, err, ErrInvalid)
	}
	if err := errors.Join(submit(t, a, events(1, "a")).Err(), a.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := a.Submit(events(1, "late"))
	wantErr(t, "after Close", err, ErrClosed)
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestABlockedReceiverHoldsUpCommitsButNoAcknowledgement(t *testing.T) {
	leakCheck(t)
	l := openMem(t)
	release := make(chan struct{})
	var delivered atomic.Int64
	a := NewAppender(l, AppenderOptions{
		MaxQueuedEvents: 2,
		Deliver:         func(*Block) { <-release; delivered.Add(1) },
	})
	first := submit(t, a, events(1, "a"))
	if err := first.Err(); err != nil || delivered.Load() != 0 {
		t.Fatalf("acknowledged after %d deliveries, error %v", delivered.Load(), err)
	}
	second := submit(t, a, events(2, "bc"))
	_, err := a.Submit(events(1, "d"))
	wantErr(t, "while the receiver is blocked", err, ErrOverloaded)
	if l.Last() != 1 {
		t.Errorf("%d blocks were committed", l.Last())
	}
	close(release)
	if err := errors.Join(second.Err(), a.Close()); err != nil || delivered.Load() != 2 {
		t.Errorf("%d deliveries, error %v", delivered.Load(), err)
	}
}

func TestBlockTimesNeverGoBack(t *testing.T) {
	mem := vfs.NewMem()
	clock := []event.Time{100, 90, 110, 80, 120}
	var got []event.Time
	for i := 0; i < len(clock); {
		l := open(t, "log", Options{FS: mem})
		a := NewAppender(l, AppenderOptions{
			Now:     func() event.Time { i++; return clock[i-1] },
			Deliver: func(b *Block) { got = append(got, b.Time) },
		})
		err := submit(t, a, events(1, "a")).Err()
		if err := errors.Join(err, a.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []event.Time{100, 100, 110, 110, 120}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAFailedCommitFailsAllThatWait(t *testing.T) {
	var on atomic.Bool
	g := newGate()
	l, err := Open("log", Options{FS: errorfs.Wrap(g.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && isWAL(op.Path) {
			return syscall.EIO
		}
		return nil
	}))})
	if err != nil {
		t.Fatal(err)
	}
	var delivered atomic.Int64
	a := NewAppender(l, AppenderOptions{Deliver: func(*Block) { delivered.Add(1) }})
	if err := submit(t, a, events(1, "a")).Err(); err != nil {
		t.Fatal(err)
	}
	g.shut()
	tickets := []*Ticket{submit(t, a, events(1, "b"))}
	<-g.arrived
	for range 3 {
		tickets = append(tickets, submit(t, a, config("c")))
	}
	on.Store(true)
	g.open()
	for i, ticket := range tickets {
		wantErr(t, fmt.Sprint("ticket ", i), ticket.Err(), ErrUnavailable)
		if ticket.Block() != 0 {
			t.Errorf("ticket %d has block %d", i, ticket.Block())
		}
	}
	_, err = a.Submit(events(1, "late"))
	wantErr(t, "submit", err, ErrUnavailable)
	wantErr(t, "close", a.Close(), ErrUnavailable)
	if delivered.Load() != 1 || l.Last() != 1 {
		t.Errorf("%d blocks were delivered, %d are stored", delivered.Load(), l.Last())
	}
}

// place is where a ticket says that a batch is.
type place struct {
	block uint64
	first int
}

// acknowledged is what several clients were told of their batches.
type acknowledged struct {
	mu         sync.Mutex
	batches    map[place]string
	overloaded int
}

// submit sends batches of a client of its own, each until there is room for it.
func (k *acknowledged) submit(t *testing.T, a *Appender, client, batches int) {
	rng := rand.New(rand.NewPCG(uint64(client), 1))
	for i := 0; i < batches; i++ {
		b := config(fmt.Sprintf("<%d.%d>", client, i))
		if rng.IntN(4) > 0 {
			b.Kind = Events
			b.Count = 1 + rng.IntN(5)
		}
		ticket, err := a.Submit(b)
		if errors.Is(err, ErrOverloaded) {
			k.mu.Lock()
			k.overloaded++
			k.mu.Unlock()
			i--
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		if rng.IntN(3) == 0 {
			<-ticket.Done()
		}
		if rng.IntN(20) == 0 && ticket.Err() != nil {
			t.Error(ticket.Err())
		}
		at := place{ticket.Block(), ticket.First()}
		k.mu.Lock()
		if other, taken := k.batches[at]; taken {
			t.Errorf("%s and %s are both at %v", other, b.Payload, at)
		}
		k.batches[at] = string(b.Payload)
		k.mu.Unlock()
	}
}

// Many submit at once; every batch that was acknowledged is in the log, whole
// and where its ticket says, and every block was delivered once, in order.
func TestConcurrentSubmits(t *testing.T) {
	leakCheck(t)
	const clients, batches = 16, 60
	l := openMem(t)
	var delivered []uint64
	a := NewAppender(l, AppenderOptions{
		MaxBlockEvents:  20,
		MaxQueuedEvents: 25,
		Deliver:         func(b *Block) { delivered = append(delivered, b.Number) },
	})
	told := acknowledged{batches: map[place]string{}}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() { told.submit(t, a, c, batches) })
	}
	wg.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	stored := map[uint64]string{}
	if err := l.Scan(1, func(b *Block) error { stored[b.Number] = string(b.Payload); return nil }); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, payload := range stored {
		total += strings.Count(payload, "<")
	}
	if total != clients*batches || len(told.batches) != total {
		t.Errorf("%d batches are stored, %d were acknowledged, want %d", total, len(told.batches), clients*batches)
	}
	for at, text := range told.batches {
		if !strings.Contains(stored[at.block], text) {
			t.Errorf("block %d does not hold %s", at.block, text)
		}
	}
	if uint64(len(delivered)) != l.Last() || !slices.IsSorted(delivered) {
		t.Errorf("%d of %d blocks were delivered", len(delivered), l.Last())
	}
	t.Logf("%d batches in %d blocks, %d times overloaded", total, l.Last(), told.overloaded)
}

// Close while others submit: each batch is either refused or stored.
func TestCloseDrains(t *testing.T) {
	leakCheck(t)
	for range 20 {
		l := openMem(t)
		a := NewAppender(l, AppenderOptions{})
		var stored atomic.Int64
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					ticket, err := a.Submit(events(1, "a"))
					if i == 3 {
						started <- struct{}{}
					}
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil || ticket.Err() != nil {
						t.Error(err, ticket.Err())
						return
					}
					stored.Add(1)
				}
			})
		}
		for range 4 {
			<-started
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		n := int64(0)
		if err := l.Scan(1, func(b *Block) error { n += int64(b.Count); return nil }); err != nil || n != stored.Load() {
			t.Errorf("%d records stored, %d acknowledged, error %v", n, stored.Load(), err)
		}
	}
}
