// Package export takes the events of a stored log out of it: to a topic of Kafka,
// which other engines read, or as JSON Lines.
package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/internal/kafkaclient"
	"millrace/operator/publish"
	"millrace/sink"
	"millrace/sink/kafka"
	source "millrace/source/kafka"
)

// Result is what an export has done.
type Result struct {
	// Events and Deletions have left with this run; Before is the block up to
	// which an earlier one had come.
	Events    int    `json:"events"`
	Deletions int    `json:"deletions"`
	Before    uint64 `json:"before"`
	Block     uint64 `json:"block"` // the last one of the log
	// Nameless are events of users who were deleted: they stay here, as they have
	// no id that anybody would take.
	Nameless int     `json:"nameless"`
	Seconds  float64 `json:"elapsed_s"`
}

// batchRecords is how many records are committed together, unless a block has
// more.
const batchRecords = 20_000

// commitTimeout bounds one commit.
const commitTimeout = time.Minute

// Topic sends the events to a topic, keyed by their users, each once, however
// often it is interrupted and called again: how far it is, is committed with
// them.
func Topic(ctx context.Context, log *eventlog.Log, brokers kafkaclient.Config, topic string, partitions int, deletions bool, logger *slog.Logger) (r Result, err error) {
	config := kafka.Default()
	config.Enabled, config.Name, config.Prefix, config.Partitions = true, "export-"+topic, "", partitions
	if err := config.Validate(); err != nil {
		return r, fmt.Errorf("--topic %q: want the name of a topic", topic)
	}
	to, err := kafka.New(config, brokers, nil, logger)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	identity, err := log.Identity()
	if err != nil {
		return r, err
	}
	opening, stop := context.WithTimeout(ctx, commitTimeout)
	defer stop()
	at, err := to.Open(opening)
	if err != nil {
		return r, fmt.Errorf("%w (%s)", err, to.Words(err))
	}
	if at.Log != "" && at.Log != identity {
		return r, fmt.Errorf("topic %s has the events of another log already: name another --topic", topic)
	}
	if at.Block > log.Last() {
		return r, fmt.Errorf("--topic %s: %w: it has block %d, and the log ends at %d: name another --topic, which has all events then", topic, errOlder, at.Block, log.Last())
	}
	if err := refuseRound(log, at.Block+1, topic); err != nil {
		return r, err
	}
	e := &exporter{topic: topic, deletions: deletions, sink: to, now: event.FromGo(time.Now()), progress: sink.Progress{Log: identity, Run: rand.Text(), Block: at.Block}}
	e.result.Before = at.Block
	err = e.scan(ctx, log, at.Block+1, func() error {
		if e.waiting < batchRecords {
			return nil
		}
		return e.commit(ctx)
	})
	if err == nil {
		err = e.commit(ctx)
	}
	if left := to.LeftOut(); err == nil && left > 0 {
		err = fmt.Errorf("%d events are larger than %d KiB and were left out", left, config.MaxRecordKiB)
	}
	return e.result, err
}

// errOlder is the error of a log that was put back from a copy: of what it has been
// given since, the topic would be without as much as it was further.
var errOlder = errors.New("the topic has more of the log than there is: this one is an older copy of itself")

// errRound is the error of a topic that the events have come from.
var errRound = errors.New("the log has events that were read from the topic itself, which would be there twice")

// refuseRound refuses to send events to the topic that they were read from, before
// anything is sent.
func refuseRound(log *eventlog.Log, from uint64, topic string) error {
	return log.Scan(from, func(b *eventlog.Block) error {
		for _, run := range b.Runs {
			if of, ok := source.TopicOf(run.Partition); ok && of == topic {
				return fmt.Errorf("--topic %s: %w (block %d): name another, which has all events then", topic, errRound, b.Number)
			}
		}
		return nil
	})
}

// Lines writes the events as JSON Lines, which millrace replay reads.
func Lines(ctx context.Context, log *eventlog.Log, out io.Writer) (Result, error) {
	w := bufio.NewWriter(out)
	e := &exporter{}
	err := e.scan(ctx, log, 1, func() error {
		for _, b := range e.blocks {
			for _, r := range b.Records {
				if _, err := w.Write(append(bytes.Clone(r.Value), '\n')); err != nil {
					return err
				}
			}
		}
		e.take()
		return nil
	})
	return e.result, errors.Join(err, w.Flush())
}

// exporter makes records of the blocks of a log.
type exporter struct {
	topic     string
	deletions bool // are records without a value
	sink      sink.Sink
	// now is the time of all records: with that of its block a broker's retention
	// would delete what has been stored for long as soon as it is there.
	now      event.Time
	progress sink.Progress

	blocks  []sink.Block // not committed
	waiting int          // their records
	events  int          // among these
	result  Result
}

// scan makes records of all blocks from one on, and calls each after every one.
func (e *exporter) scan(ctx context.Context, log *eventlog.Log, from uint64, each func() error) error {
	return log.Scan(from, func(b *eventlog.Block) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		records, err := e.records(b)
		if err != nil {
			return fmt.Errorf("block %d: %w", b.Number, err)
		}
		e.blocks = append(e.blocks, sink.Block{Number: b.Number, Time: e.now, Records: records})
		e.waiting += len(records)
		e.result.Block = b.Number
		return each()
	})
}

// records are those of a block.
func (e *exporter) records(b *eventlog.Block) (list []publish.Record, err error) {
	r := wire.NewReader(b.Payload)
	switch b.Kind {
	case eventlog.Events:
		var names event.Names
		for range b.Count {
			var one event.Event
			event.ReadEvent(r, &one, &names)
			if r.Err() != nil {
				return nil, r.Err()
			}
			if !event.IsID(one.User) {
				e.result.Nameless++
				continue
			}
			e.events++
			list = append(list, publish.Record{Topic: e.topic, Key: one.User, Value: json.RawMessage(event.AppendJSON(nil, &one))})
		}
	case eventlog.Catalogue:
		for range b.Count {
			change := event.ReadChange(r)
			if r.Err() != nil {
				return nil, r.Err()
			}
			key := event.DeletionKey(&change)
			if _, bad := event.ParseDeletion(key); !e.deletions || key == nil || bad != nil {
				continue
			}
			list = append(list, publish.Record{Topic: e.topic, Key: string(key)})
		}
	}
	return list, nil
}

// commit commits what waits.
func (e *exporter) commit(ctx context.Context) error {
	if len(e.blocks) == 0 {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, commitTimeout)
	defer stop()
	p := e.progress
	p.Block = e.blocks[len(e.blocks)-1].Number
	if err := e.sink.Commit(ctx, e.blocks, p); err != nil {
		return err
	}
	e.progress = p
	e.take()
	return nil
}

// take counts what has left.
func (e *exporter) take() {
	e.result.Events += e.events
	e.result.Deletions += e.waiting - e.events
	e.blocks, e.waiting, e.events = e.blocks[:0], 0, 0
}
