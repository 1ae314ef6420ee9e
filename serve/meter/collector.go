package meter

import "github.com/prometheus/client_golang/prometheus"

// Gauge is one figure that is read when Prometheus asks. Label is the value
// of the label that the gauge's name has, empty for none.
type Gauge struct {
	Name, Label string
	Value       float64
}

// Descriptor says what a gauge is. Label is the name of its label, empty for
// none.
type Descriptor struct {
	Name, Help, Label string
}

// RegisterGauges makes a registry read gauges all at once, so that they are of
// one moment. Gauges that are not described are left out.
func RegisterGauges(registry *prometheus.Registry, described []Descriptor, read func() []Gauge) {
	c := &gauges{read: read, described: map[string]*prometheus.Desc{}}
	for _, d := range described {
		var labels []string
		if d.Label != "" {
			labels = []string{d.Label}
		}
		desc := prometheus.NewDesc(d.Name, d.Help, labels, nil)
		c.described[d.Name] = desc
		c.order = append(c.order, desc)
	}
	registry.MustRegister(c)
}

type gauges struct {
	read      func() []Gauge
	described map[string]*prometheus.Desc
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
		desc, ok := c.described[g.Name]
		if !ok {
			continue
		}
		if g.Label == "" {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, g.Value)
		} else {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, g.Value, g.Label)
		}
	}
}
