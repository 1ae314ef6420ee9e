package services

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const kafkaLogging = `status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1} %m%n
`

// java is a Java that starts fast and stays small: code is compiled once, by
// the quick compiler, classes come from an archive, and little memory is taken.
func (s *KafkaServer) java() []string {
	return []string{
		"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"@" + filepath.Join(s.home, "java.args"),
		"-Dlog4j2.configurationFile=" + filepath.Join(s.Dir, "log4j2.properties"),
	}
}

// properties is the broker's server.properties.
func (s *KafkaServer) properties() string {
	protocols := []string{"CONTROLLER:PLAINTEXT"}
	var listeners, advertised []string
	add := func(name, protocol, address string) {
		if address == "" {
			return
		}
		listeners = append(listeners, name+"://"+address)
		protocols = append(protocols, name+":"+protocol)
		if other := s.options.Advertised[name]; other != "" {
			address = other
		}
		advertised = append(advertised, name+"://"+address)
	}
	add("PLAINTEXT", "PLAINTEXT", s.Address)
	add("TLS", "SSL", s.TLSAddress)
	add("SASL", "SASL_PLAINTEXT", s.SASLAddress)
	add("SASLTLS", "SASL_SSL", s.SASLTLSAddress)
	p := map[string]string{
		"process.roles": "broker,controller", "node.id": "1",
		"controller.quorum.voters":   "1@" + s.controller,
		"listeners":                  strings.Join(listeners, ",") + ",CONTROLLER://" + s.controller,
		"advertised.listeners":       strings.Join(advertised, ","),
		"controller.listener.names":  "CONTROLLER",
		"inter.broker.listener.name": "PLAINTEXT", "listener.security.protocol.map": strings.Join(protocols, ","),
		"log.dirs":                         filepath.Join(s.Dir, "data"),
		"auto.create.topics.enable":        fmt.Sprint(s.options.AutoCreateTopics),
		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "2",
		"transaction.state.log.replication.factor": "1", "transaction.state.log.num.partitions": "2",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"group.initial.rebalance.delay.ms":                 "0",
		"log.cleaner.dedupe.buffer.size":                   "8388608",
		"num.network.threads":                              "2",
		// A broker that was killed may come back only when its session is over.
		"broker.session.timeout.ms": "2500", "broker.heartbeat.interval.ms": "400",
		"num.io.threads": "2",
	}
	s.security(p)
	maps.Copy(p, s.options.Properties)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", name, p[name])
	}
	return text.String()
}

// security adds what TLS, logins and access lists need.
func (s *KafkaServer) security(p map[string]string) {
	s.t.Helper()
	if s.options.TLS {
		p["ssl.keystore.type"], p["ssl.truststore.type"] = "PEM", "PEM"
		p["ssl.keystore.location"] = joinFiles(s.t, filepath.Join(s.Dir, "server.pem"), s.ServerKeyFile, s.ServerCertFile)
		p["ssl.truststore.location"] = s.CAFile
	}
	if s.options.ClientCertificates {
		p["listener.name.tls.ssl.client.auth"] = "required"
	}
	if s.options.SASL {
		p["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
		for _, listener := range []string{"sasl", "sasltls"} {
			prefix := "listener.name." + listener + "."
			p[prefix+"plain.sasl.jaas.config"] = fmt.Sprintf("org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=\"%s\";", User, Password)
			for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
				p[prefix+mechanism+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
			}
		}
	}
	if s.options.Authorize {
		p["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		p["super.users"] = "User:ANONYMOUS"
	}
}

// format makes the data directory. Kafka's own tool does it once for each set
// of features; later brokers get copies with a cluster id of their own, which saves a
// second for each.
func (s *KafkaServer) format(properties string) {
	s.t.Helper()
	var features []string
	for _, name := range slices.Sorted(maps.Keys(s.options.Features)) {
		features = append(features, "--feature", fmt.Sprintf("%s=%d", name, s.options.Features[name]))
	}
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, features)
	formatted := filepath.Join(s.home, "formatted-"+hex.EncodeToString(h.Sum(nil)))
	data := filepath.Join(s.Dir, "data")
	if !exists(formatted) {
		arguments := append(s.java(), "kafka.tools.StorageTool", "format", "-t", clusterID(), "-c", properties)
		s.run("java", append(arguments, features...)...)
		s.keep(data, formatted)
		return
	}
	if err := os.CopyFS(data, os.DirFS(formatted)); err != nil {
		s.t.Fatal(err)
	}
	meta := filepath.Join(data, "meta.properties")
	text, err := os.ReadFile(meta)
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for n, line := range lines {
		if strings.HasPrefix(line, "cluster.id=") {
			lines[n] = "cluster.id=" + clusterID()
		}
	}
	write(s.t, meta, strings.Join(lines, "\n"))
}

// keep copies a formatted directory for later brokers, whole or not at all.
func (s *KafkaServer) keep(data, formatted string) {
	s.t.Helper()
	scratch, err := os.MkdirTemp(filepath.Dir(formatted), "formatting-")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(scratch, os.DirFS(data)); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(scratch, formatted); err != nil {
		_ = os.RemoveAll(scratch) // another process was faster
	}
}

// clusterID is a random id as Kafka writes them.
func clusterID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	id[0] &= 0x7f        // no id begins with a hyphen
	return base64.RawURLEncoding.EncodeToString(id)
}
