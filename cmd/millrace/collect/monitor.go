package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var (
	linesMetric  = prometheus.NewDesc("millrace_collect_lines_total", "Lines read since the start, by what they were: an event, ignored (no rule is for it), or bad (a dead letter).", []string{"outcome"}, nil)
	filesMetric  = prometheus.NewDesc("millrace_collect_files", "Files that are followed.", nil, nil)
	behindMetric = prometheus.NewDesc("millrace_collect_behind_bytes", "Bytes of followed files that are not stored yet, as of the last look at them.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{linesMetric, filesMetric, behindMetric} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	s := c.Stats()
	for outcome, n := range map[string]uint64{"event": s.Events, "ignored": s.Ignored, "bad": s.Bad} {
		to <- prometheus.MustNewConstMetric(linesMetric, prometheus.CounterValue, float64(n), outcome)
	}
	files, behind := 0, uint64(0)
	for _, g := range c.groups {
		f, b := g.follower.Following()
		files, behind = files+f, behind+b
	}
	to <- prometheus.MustNewConstMetric(filesMetric, prometheus.GaugeValue, float64(files))
	to <- prometheus.MustNewConstMetric(behindMetric, prometheus.GaugeValue, float64(behind))
}

// Err says why lines are not collected at present; nil if they are.
func (c *Collector) Err() error {
	if failed := c.failed.Load(); failed != nil {
		return *failed
	}
	return c.target.Err()
}

// handler answers GET /metrics and GET /v1/health.
func (c *Collector) handler() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, _ *http.Request) {
		answer := struct {
			Status string `json:"status"`
			Error  string `json:"error,omitempty"`
		}{Status: "ok"}
		status := http.StatusOK
		if err := c.Err(); err != nil {
			status, answer.Status, answer.Error = http.StatusServiceUnavailable, "waiting", err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // a client that has gone
	})
	return mux, nil
}

// monitor has an address answer handler's routes until it is stopped.
func (c *Collector) monitor(address string, logger *slog.Logger) (stop func() error, err error) {
	handler, err := c.handler()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--listen: want an address that is free, such as 127.0.0.1:9102, got %q: %w", address, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	logger.Info("metrics and health", "address", "http://"+l.Addr().String())
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
