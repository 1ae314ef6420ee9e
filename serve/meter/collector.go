package meter

import "github.com/prometheus/client_golang/prometheus"

// Gauge is one figure that is read when Prometheus asks: a gauge, or a counter
// that is kept elsewhere. Label is the value
// of the label that the gauge's name has, empty for none.
type Gauge struct {
	Name, Label string
	Value       float64
}

// Descriptor says what a gauge is. Label is the name of its label, empty for
// none. Counter says that it only grows, but for restarts.
type Descriptor struct {
	Name, Help, Label string
	Counter           bool
}

// RegisterGauges makes a registry read gauges all at once, so that they are of
// one moment. Gauges that are not described are left out.
func RegisterGauges(registry *prometheus.Registry, list []Descriptor, read func() []Gauge) {
	c := &gauges{read: read, described: map[string]described{}}
	for _, d := range list {
		var labels []string
		if d.Label != "" {
			labels = []string{d.Label}
		}
		desc := prometheus.NewDesc(d.Name, d.Help, labels, nil)
		c.described[d.Name] = described{desc, prometheus.GaugeValue}
		if d.Counter {
			c.described[d.Name] = described{desc, prometheus.CounterValue}
		}
		c.order = append(c.order, desc)
	}
	registry.MustRegister(c)
}

type described struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

type gauges struct {
	read      func() []Gauge
	described map[string]described
	order     []*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.order {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *gauges) Collect(to chan<- prometheus.Metric) {
	for _, g := range c.read() {
		d, ok := c.described[g.Name]
		if !ok {
			continue
		}
		if g.Label == "" {
			to <- prometheus.MustNewConstMetric(d.desc, d.kind, g.Value)
		} else {
			to <- prometheus.MustNewConstMetric(d.desc, d.kind, g.Value, g.Label)
		}
	}
}
