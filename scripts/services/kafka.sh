#!/usr/bin/env bash
# Apache Kafka, one broker in KRaft mode. Environment: KAFKA_PORT (9092),
# KAFKA_CONTROLLER_PORT (9093), KAFKA_VERSION, KAFKA_HEAP (512m). `install` prints
# the folder of its jars and of java.args, the arguments of Java for them. Kafka's own
# tools on this broker: topics, produce, consume, groups, with their arguments.
. "$(dirname "$0")/lib.sh"
name=kafka
verbs="|topics|produce|consume|groups"
version=${KAFKA_VERSION:-4.1.1}
port=${KAFKA_PORT:-9092}
controller=${KAFKA_CONTROLLER_PORT:-9093}
address=127.0.0.1:$port
home=$cache/kafka-$version

fetch() {
  [ ! -f "$home/java.args" ] || return 0
  command -v java >/dev/null && command -v mvn >/dev/null || apt_install openjdk-17-jre-headless maven
  say "fetching Kafka $version with Maven"
  rm -rf "$home/lib" "$home"/formatted-*
  mvn -q -B -f "$root/scripts/services/kafka/pom.xml" -Dkafka.version="$version" \
    dependency:copy-dependencies -DoutputDirectory="$home/lib" >&2
  archive_classes
  mv "$home/java.args.new" "$home/java.args"
}

# archive_classes runs a broker for a moment to keep the classes that it loads in the
# form that Java maps into memory: later starts need 1 s of CPU time less. Java
# ignores the archive if it does not fit.
archive_classes() {
  local scratch jars
  scratch=$(mktemp -d)
  jars=("$home"/lib/*.jar)
  printf -- '-cp "%s"\n' "$(IFS=:; echo "${jars[*]}")" >"$home/java.args.new"
  settings "$scratch" $((12000 + RANDOM % 9000)) $((22000 + RANDOM % 9000)) >"$scratch/server.properties"
  logging >"$scratch/log4j2.properties"
  local java=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "@$home/java.args.new" "-Dlog4j2.configurationFile=$scratch/log4j2.properties")
  "${java[@]}" kafka.tools.StorageTool format -t millrace-class-archive -c "$scratch/server.properties" >&2
  "${java[@]}" -XX:ArchiveClassesAtExit="$home/classes.jsa" kafka.Kafka "$scratch/server.properties" >"$scratch/log" 2>&1 &
  for _ in $(seq 300); do
    if grep -q 'Kafka Server started' "$scratch/log" || ! kill -0 $! 2>/dev/null; then break; fi
    sleep 0.1
  done
  kill $! 2>/dev/null || true
  wait $! || true
  grep -q 'Kafka Server started' "$scratch/log" || fail "Kafka $version does not start: $(tail -n 15 "$scratch/log")"
  rm -rf "$scratch"
  echo "-XX:SharedArchiveFile=$home/classes.jsa -Xshare:auto" >>"$home/java.args.new"
}

# settings DIR PORT CONTROLLER_PORT prints server.properties.
settings() {
  cat <<END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
controller.quorum.voters=1@127.0.0.1:$3
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$1/data
num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
END
}

# logging prints log4j2.properties.
logging() {
  cat <<'END'
status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd HH:mm:ss.SSS} %p %c{1} %m%n
END
}

install() {
  locked "$home/lock" fetch
  echo "$home"
}

start() {
  install >/dev/null
  free_port "$port" KAFKA_PORT
  free_port "$controller" KAFKA_CONTROLLER_PORT
  local dir=$data/kafka
  mkdir -p "$dir"
  settings "$dir" "$port" "$controller" >"$dir/server.properties"
  logging >"$dir/log4j2.properties"
  local java=(java -Xms64m "-Xmx${KAFKA_HEAP:-512m}" -XX:+UseSerialGC "@$home/java.args" "-Dlog4j2.configurationFile=$dir/log4j2.properties")
  if [ ! -f "$dir/data/meta.properties" ]; then
    local cluster
    cluster=$("${java[@]}" kafka.tools.StorageTool random-uuid)
    "${java[@]}" kafka.tools.StorageTool format -t "$cluster" -c "$dir/server.properties" >&2
  fi
  launch kafka "${java[@]}" kafka.Kafka "$dir/server.properties"
}

# A port that accepts is not enough: the broker must have registered.
health() { listens "$port" && running kafka && grep -q 'Kafka Server started' "$data/kafka.log"; }

stop() { halt kafka; }

# tool CLASS ARGUMENTS... runs one of Kafka's tools.
tool() {
  install >/dev/null
  [ -d "$home/tools" ] || mvn -q -B dependency:copy -Dartifact="org.apache.kafka:kafka-tools:$version" -DoutputDirectory="$home/tools" >&2
  logging | sed 's/= info/= warn/' >"$home/tools/log4j2.properties"
  exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$home/lib/*:$home/tools/*" \
    "-Dlog4j2.configurationFile=$home/tools/log4j2.properties" "org.apache.kafka.tools.$1" --bootstrap-server "$address" "${@:2}"
}

case ${1:-} in
  topics) tool TopicCommand "${@:2}" ;;
  produce) tool ConsoleProducer "${@:2}" ;;
  consume) tool consumer.ConsoleConsumer "${@:2}" ;;
  groups) tool consumer.group.ConsumerGroupCommand "${@:2}" ;;
  *) dispatch "$@" ;;
esac
