package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/source/kafka"
)

// kafkaSettings is the example of all settings in docs/kafka.md.
func kafkaSettings(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/kafka.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	settings, _, ok := strings.Cut(rest, "```")
	if !ok || !strings.HasPrefix(settings, "kafka:\n") {
		t.Fatal("docs/kafka.md has no settings")
	}
	return settings
}

func loadText(t *testing.T, text string) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(path)
}

// The settings that the document lists are all that there are, and its values
// the defaults, but for the topics.
func TestKafkaSettingsAreDocumented(t *testing.T) {
	settings := kafkaSettings(t)
	c, err := loadText(t, strings.Replace(settings, "assignment: group ", "assignment: fixed ", 1))
	if err != nil {
		t.Fatal(err)
	}
	topics := c.Kafka.Topics
	c.Kafka.Topics, c.Kafka.Assignment = nil, kafka.AssignGroup
	c.Kafka.Brokers, c.Kafka.SchemaRegistry.URLs = nil, nil
	if want := kafka.Default(); !reflect.DeepEqual(c.Kafka, want) {
		t.Errorf("documented\n%+v\nthe defaults are\n%+v", c.Kafka, want)
	}
	if len(topics) != 1 || topics[0].Name != "clicks" || topics[0].EventType != "click" || topics[0].Fields["visitor"] != "user_id" ||
		!topics[0].RecordTime || *topics[0].OutOfOrderness != 10*time.Second || len(topics[0].Partitions) != 2 || topics[0].Format != "json" {
		t.Errorf("%+v", topics)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[kafka.Config](), reflect.TypeFor[kafka.Topic]()} {
		eachSetting(of, func(name, variable string) {
			if !strings.Contains(settings, name+":") || variable != "" && !strings.Contains(settings, variable+"\n") && !strings.Contains(settings, variable+":") && !strings.Contains(settings, variable+" ") {
				t.Errorf("docs/kafka.md does not have %s, %s", name, variable)
			}
		})
	}
}

// eachSetting calls fn for the settings of a section that docs/kafka.md lists:
// those of formats are in docs/formats.md.
func eachSetting(of reflect.Type, fn func(name, variable string)) {
	for i := range of.NumField() {
		f := of.Field(i)
		name := f.Tag.Get("yaml")
		if strings.Contains(f.Type.PkgPath(), "format") || strings.Contains(f.Type.PkgPath(), "schemaregistry") {
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			eachSetting(f.Type, fn)
		}
		if name != "" && name != ",inline" {
			fn(name, f.Tag.Get("env"))
		}
	}
}

// A setting that is wrong is named, with what is wanted.
func TestKafkaSettingsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"kafka: {brokers: [nine]}":                                           `kafka.brokers: want HOST:PORT, got "nine"`,
		"kafka: {start: yesterday}":                                          `kafka.start: want earliest, latest, stored or a time`,
		"kafka: {idle_timeout: soon}":                                        `idle_timeout: want a duration`,
		"kafka: {fetch: {max_mib: 1.5}}":                                     `max_mib: want a whole number`,
		"kafka: {fetch: {max_partition_mib: 99}}":                            `kafka.fetch.max_partition_mib: want 1 to fetch.max_mib`,
		"kafka: {topics: [{topic: a}, {topic: a}]}":                          `kafka.topics[1].topic: want each topic once`,
		"kafka: {topics: [{topic: a, format: xml}]}":                         `kafka.topics[0]: format: want json`,
		"kafka: {topics: [{topic: a, event_type: gaze}]}":                    `kafka.topics[0]: invalid mapping: event_type`,
		"kafka: {topics: [{topic: a, partitions: [1]}]}":                     `kafka.topics[0].partitions: want none, or assignment fixed`,
		"kafka: {topics: [{topic: a}], dead_letter_topic: a}":                `another topic than dead_letter_topic`,
		"kafka: {sasl: {mechanism: PLAIN, username: u}}":                     `kafka.sasl.password: want a password`,
		"kafka: {session_timeout: 1s}":                                       `kafka.session_timeout: want 6s to 30m`,
		"kafka: {when_lost: hope}":                                           `kafka.when_lost: want stop, earliest or latest`,
		"kafka: {assignment: mine}":                                          `kafka.assignment: want group or fixed`,
		`kafka: {broker: ["a:1"]}`:                                           `unknown field "broker"`,
		"kafka: {topics: [{topic: a, out_of_orderness: 99h}]}":               `kafka.topics[0].out_of_orderness`,
		`kafka: {brokers: ["a:1"], tls: {ca_file: x}}`:                       `kafka.tls.enabled: want true`,
		"kafka: {topics: [{topic: a, partitions: [-1]}], assignment: fixed}": `numbers from 0`,
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	t.Setenv("MILLRACE_KAFKA_SESSION_TIMEOUT", "soon")
	if _, err := loadConfig(""); err == nil || !strings.Contains(err.Error(), "MILLRACE_KAFKA_SESSION_TIMEOUT") {
		t.Errorf("%v", err)
	}
}

// What topics change of answers is in the configuration record, and nothing is
// without them: brokers alone, or no topics, leave the record as it was.
func TestKafkaInTheConfigurationRecord(t *testing.T) {
	record := func(text string) []byte {
		t.Helper()
		c, err := loadText(t, text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := programConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	plain := record("shards: 0")
	if !bytes.Equal(plain, record(`kafka: {brokers: ["a:1"], topics: []}`)) {
		t.Error("brokers without topics change answers")
	}
	r := record("out_of_orderness: 3s\nkafka: {brokers: [\"a:1\"], idle_timeout: 7s}")
	if want := `"partitions":{"idle_timeout_ms":7000,"by_user":true,"out_of_orderness_ms":{"user-events":10000}}`; !strings.Contains(string(r), want) {
		t.Errorf("%s, want %s", r, want)
	}
	p, err := buildProgram(r)
	if err != nil || p.Partitions == nil || p.Partitions.Idle != 7000 || !p.Partitions.Apart {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, behind := range map[string]int64{kafka.Source("user-events", 3): 10_001, kafka.Source("watched-movies", 0): 3001} {
		s := p.Partitions.Strategy(name)
		if s.Observe(1_000_000, 0, false); int64(1_000_000-s.Watermark()) != behind {
			t.Errorf("%s is %d behind, want %d", name, 1_000_000-s.Watermark(), behind)
		}
	}
	if p, err := buildProgram(plain); err != nil || p.Partitions != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
