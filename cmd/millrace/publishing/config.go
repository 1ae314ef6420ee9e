// Package publishing wires an engine to the topics that its results go to.
package publishing

import (
	"fmt"
	"time"

	"millrace/event"
	"millrace/internal/kafkaclient"
	"millrace/recommend"
	"millrace/recommend/classify"
	"millrace/recommend/cohort"
	"millrace/recommend/heat"
	"millrace/sink/kafka"
)

// Config is the section publish of the configuration: what is published, and how.
type Config struct {
	kafka.Config `yaml:",inline"`
	// Classify are the templates of the topics that cleaned events are published
	// to, see package classify; none publishes no events.
	Classify []string `yaml:"classify" env:"MILLRACE_PUBLISH_CLASSIFY"`
	// Cohorts publishes what cohorts like.
	Cohorts bool `yaml:"cohorts" env:"MILLRACE_PUBLISH_COHORTS"`
	// Heat publishes the heat index of items.
	Heat bool `yaml:"heat" env:"MILLRACE_PUBLISH_HEAT"`
	// Interval is the grid of event time at which cohorts and heat are published,
	// if they have changed.
	Interval time.Duration `yaml:"interval" env:"MILLRACE_PUBLISH_INTERVAL"`
}

// Default publishes nothing, and everything once it is enabled.
func Default() Config {
	return Config{Config: kafka.Default(), Classify: classify.Defaults().Topics, Cohorts: true, Heat: true, Interval: 10 * time.Second}
}

// Validate says what is wrong with the settings, given how brokers are reached.
func (c *Config) Validate(brokers *kafkaclient.Config) error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	if c.Interval < time.Second || c.Interval > 24*time.Hour {
		return fmt.Errorf("%w: publish.interval: want 1s to 24h, got %v", kafkaclient.ErrConfig, c.Interval)
	}
	if len(c.Classify) > 0 {
		if err := (classify.Options{Topics: c.Classify}).Validate(); err != nil {
			return fmt.Errorf("%w: publish.classify: %w", kafkaclient.ErrConfig, err)
		}
	}
	if c.Enabled && !brokers.Enabled() {
		return fmt.Errorf("%w: publish.enabled: want kafka.brokers as well, to publish to, got none", kafkaclient.ErrConfig)
	}
	return nil
}

// Apply has the operators publish what is to be published.
func (c *Config) Apply(o *recommend.Options) {
	if !c.Enabled {
		return
	}
	if len(c.Classify) > 0 {
		o.Classify = &classify.Options{Topics: c.Classify}
	}
	interval := event.Duration(c.Interval.Milliseconds())
	if c.Cohorts {
		options := cohort.Defaults()
		options.Interval = interval
		o.Cohort = &options
	}
	if c.Heat {
		o.HeatIndex = &heat.IndexOptions{Interval: interval}
	}
}
