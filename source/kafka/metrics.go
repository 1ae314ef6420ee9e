package kafka

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// descriptors of the metrics of a Consumer.
var (
	lagMetric      = describe("lag_records", "Offsets between what is durable in the log and the end of a partition that is read here.", "topic", "partition")
	positionMetric = describe("position", "The first offset of a partition that is not durable in the log.", "topic", "partition")
	lostMetric     = describe("lost", "1 if a partition is not read any more as its records are gone, else 0; health says why.", "topic", "partition")
	recordsMetric  = describe("records_total", "Records read since the start.", "topic")
	bytesMetric    = describe("bytes_total", "Bytes of keys and values read since the start.", "topic")
	badMetric      = describe("bad_records_total", "Records that were no events, since the start: they are dead letters.", "topic")
	repeatedMetric = describe("repeated_records_total", "Records that were fetched again since the start, and dropped as the log had them.", "topic")
	unsentMetric   = describe("dead_letters_unsent_total", "Records that the dead-letter topic did not take, since the start.")
	errorMetric    = describe("last_error_seconds", "When something did not work last, as a Unix time; 0 if nothing did not.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("millrace_kafka_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c *Consumer) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		lagMetric, positionMetric, lostMetric, recordsMetric, bytesMetric, badMetric, repeatedMetric, unsentMetric, errorMetric,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Consumer) Collect(to chan<- prometheus.Metric) {
	s := c.Status()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for _, p := range s.Partitions {
		id := strconv.Itoa(int(p.Partition))
		lost := 0.0
		if p.Lost != "" {
			lost = 1
		}
		gauge(lostMetric, lost, p.Topic, id)
		if p.Assigned {
			gauge(lagMetric, float64(p.Lag), p.Topic, id)
			gauge(positionMetric, float64(p.Next), p.Topic, id)
		}
	}
	for _, t := range s.Topics {
		counter(recordsMetric, t.Records, t.Topic)
		counter(bytesMetric, t.Bytes, t.Topic)
		counter(badMetric, t.Bad, t.Topic)
		counter(repeatedMetric, t.Repeated, t.Topic)
	}
	counter(unsentMetric, s.UnsentDeadLetters)
	at := 0.0
	if !s.LastErrorTime.IsZero() {
		at = float64(s.LastErrorTime.UnixMilli()) / 1000
	}
	gauge(errorMetric, at)
}
