package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/engine/flink"
	"millrace/internal/kafkaclient"
	"millrace/recommend/cohort"
	"millrace/recommend/heat"
	sink "millrace/sink/kafka"
	"millrace/source/kafka"
)

// printPlan prints the plan of a reference job, or of a configuration.
func (w *Builder) printPlan(ctx context.Context, out io.Writer, job, file string) error {
	if (job == "") == (file == "") {
		return errors.New("--plan: want one of --config and --job")
	}
	var plan *flink.Plan
	var settings *Settings
	var err error
	if job != "" {
		plan, err = planReference(job)
	} else if plan, settings, err = w.Plan(ctx, file); err == nil {
		err = w.makeTopics(ctx, plan, settings)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, plan)
	return err
}

// makeTopics makes the topics that Flink's sinks look for when they begin, where
// they are missing: dead letters, and what is published whatever is in the events.
func (w *Builder) makeTopics(ctx context.Context, plan *flink.Plan, s *Settings) (err error) {
	var names []string
	for to, s := range plan.Sinks {
		if name, ok := strings.CutPrefix(to, flink.SinkTopic); ok {
			names = append(names, name)
		}
		names = append(names, s.Topics...)
	}
	if len(names) == 0 {
		return nil
	}
	preparer, err := sink.NewPreparer(s.Publish.Config, s.Kafka.Config, nil, w.logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, preparer.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	slices.Sort(names)
	if err := preparer.Make(ctx, names...); err != nil {
		return fmt.Errorf("kafka: %w (%s)", err, s.Kafka.Words(err))
	}
	return nil
}

func planReference(job string) (*flink.Plan, error) {
	p, err := buildReference(job)
	if err != nil {
		return nil, fmt.Errorf("--job: %w", err)
	}
	b, err := json.Marshal(program{Reference: job})
	if err != nil {
		return nil, err
	}
	return flink.NewPlan(job, p, b)
}

// Plan makes the plan of the configuration in a file, and gives its settings. It
// asks Kafka which of the default topics there are, and no other system.
func (w *Builder) Plan(ctx context.Context, file string) (*flink.Plan, *Settings, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("--config: %w", err)
	}
	p := program{Submission: rand.Text(), Name: file, Config: string(text), Environment: environment()}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, nil, err
	}
	s, err := w.settings(&p)
	if err != nil {
		return nil, nil, err
	}
	n := &parts{settings: s}
	if s.Redis.Enabled() {
		n.views = &views{}
	}
	assembled, err := w.assemble(n)
	if err != nil {
		return nil, nil, err
	}
	plan, err := flink.NewPlan("millrace", assembled, b)
	if err != nil {
		return nil, nil, err
	}
	if plan.Kafka, err = planKafka(ctx, s.Kafka); err != nil {
		return nil, nil, err
	}
	for _, e := range plan.Edges {
		if e.To == flink.SinkTopics || strings.HasPrefix(e.To, flink.SinkTopic) {
			plan.Sinks[e.To] = flink.PlanSink{Properties: plan.Kafka.Properties}
		}
	}
	if to, ok := plan.Sinks[flink.SinkTopics]; ok && len(s.Publish.Classify) == 0 {
		to.Topics = []string{s.Publish.Prefix + cohort.Topic, s.Publish.Prefix + heat.Topic}
		plan.Sinks[flink.SinkTopics] = to
	}
	return plan, &s, nil
}

// planKafka says what is read. Of the default topics those are that exist.
func planKafka(ctx context.Context, c kafka.Config) (*flink.PlanKafka, error) {
	properties, err := properties(&c.Config)
	if err != nil {
		return nil, err
	}
	k := &flink.PlanKafka{Properties: properties, Start: c.Start, Group: c.Group}
	if at, err := time.Parse(time.RFC3339, c.Start); err == nil {
		k.Start = strconv.FormatInt(at.UnixMilli(), 10)
	}
	for _, t := range topics(c) {
		k.Topics = append(k.Topics, t.Name)
	}
	if c.Topics != nil {
		return k, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	var found []string
	for _, name := range k.Topics {
		there, err := kafkaclient.Probe(ctx, c.Config, name)
		if err != nil {
			return nil, fmt.Errorf("kafka: %s", c.Words(err))
		}
		if there[name] > 0 {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("kafka.topics: want some that exist; of the default ones, %s, there is none", strings.Join(k.Topics, ", "))
	}
	k.Topics = found
	return k, nil
}

// properties are those of a client of Kafka's own. Files are read here, as the
// machines of Flink need not have them.
func properties(c *kafkaclient.Config) (map[string]string, error) {
	p := map[string]string{
		"bootstrap.servers": strings.Join(c.Brokers, ","), "client.id": c.ClientID, "isolation.level": "read_committed",
	}
	security := map[[2]bool]string{
		{false, false}: "PLAINTEXT", {true, false}: "SSL", {false, true}: "SASL_PLAINTEXT", {true, true}: "SASL_SSL",
	}
	p["security.protocol"] = security[[2]bool{c.TLS.Enabled, c.SASL.Mechanism != ""}]
	if c.SASL.Mechanism != "" {
		module := "org.apache.kafka.common.security.scram.ScramLoginModule"
		if c.SASL.Mechanism == kafkaclient.SASLPlain {
			module = "org.apache.kafka.common.security.plain.PlainLoginModule"
		}
		p["sasl.mechanism"] = c.SASL.Mechanism
		p["sasl.jaas.config"] = fmt.Sprintf("%s required username=%s password=%s;", module, quoted(c.SASL.Username), quoted(string(c.SASL.Password)))
	}
	if !c.TLS.Enabled {
		return p, nil
	}
	if c.TLS.ServerName != "" {
		return nil, errors.New("kafka.tls.server_name: Flink takes the name of the address: want none")
	}
	for _, f := range []struct{ file, kind, store, property string }{
		{c.TLS.CAFile, "ca_file", "ssl.truststore.type", "ssl.truststore.certificates"},
		{c.TLS.CertFile, "cert_file", "ssl.keystore.type", "ssl.keystore.certificate.chain"},
		{c.TLS.KeyFile, "key_file", "ssl.keystore.type", "ssl.keystore.key"},
	} {
		if f.file == "" {
			continue
		}
		pem, err := os.ReadFile(f.file)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls.%s: %w", f.kind, err)
		}
		p[f.store], p[f.property] = "PEM", string(pem)
	}
	return p, nil
}

// quoted is a text as a JAAS configuration has it.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
