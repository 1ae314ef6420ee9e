#!/usr/bin/env bash
# Apache Flink, a session cluster: a JobManager and TaskManagers. Environment:
# FLINK_PORT (8081, REST and web interface), FLINK_RPC_PORT (6123),
# FLINK_TASKMANAGERS (1), FLINK_SLOTS (2 each), FLINK_VERSION, FLINK_PROPERTIES
# (further lines of config.yaml). `install` prints the folder of its jars and of
# java.args, and classes.jsa, an archive of classes for processes that live shortly; `run ARGUMENTS` is `flink run ARGUMENTS` on this cluster, and so are
# list, cancel, stop-job and savepoint.
. "$(dirname "$0")/lib.sh"
name=flink-jobmanager
verbs="|run|list|cancel|savepoint|stop-job"
version=${FLINK_VERSION:-2.2.1}
port=${FLINK_PORT:-8081}
rpc=${FLINK_RPC_PORT:-6123}
managers=${FLINK_TASKMANAGERS:-1}
address=127.0.0.1:$port
home=$cache/flink-$version
dir=$data/flink

# What Flink asks of Java 17's modules, as in the configuration that it ships.
opens="java.base/java.lang java.base/java.net java.base/java.io java.base/java.nio java.base/sun.nio.ch java.base/java.lang.reflect
  java.base/java.text java.base/java.time java.base/java.util java.base/java.util.concurrent java.base/java.util.concurrent.atomic
  java.base/java.util.concurrent.locks java.security.jgss/sun.security.krb5"

# fetch takes the jars from Flink's package for Python: it is the only registry
# package that has the whole distribution.
fetch() {
  [ ! -f "$home/java.args" ] || return 0
  command -v java >/dev/null || apt_install openjdk-17-jre-headless
  python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
  say "fetching Flink $version (300 MB)"
  local scratch
  scratch=$(mktemp -d "$home/fetch-XXXXXX")
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --dest "$scratch" "apache-flink-libraries==$version" >&2
  mkdir -p "$home/lib"
  python3 - "$scratch" "$home/lib" <<'END'
import glob, os, shutil, sys, zipfile

scratch, lib = sys.argv[1:]
with zipfile.ZipFile(glob.glob(scratch + "/*.whl")[0]) as wheel:
    for entry in wheel.namelist():
        jar = os.path.basename(entry)
        if entry.startswith("pyflink/lib/") and jar.startswith(("flink-dist", "log4j")):
            with wheel.open(entry) as src, open(os.path.join(lib, jar), "wb") as dst:
                shutil.copyfileobj(src, dst)
END
  rm -rf "$scratch"
  local jars
  jars=("$home"/lib/*.jar)
  {
    printf -- '-cp "%s"\n' "$(IFS=:; echo "${jars[*]}")"
    for module in $opens; do echo "--add-opens=$module=ALL-UNNAMED"; done
    echo "-Dlog4j.configurationFile=$home/log4j2.properties"
  } >"$home/java.args.new"
  logging >"$home/log4j2.properties"
  mv "$home/java.args.new" "$home/java.args"
}

logging() {
  cat <<'END'
rootLogger.level = info
rootLogger.appenderRef.out.ref = OUT
logger.pekko.name = org.apache.pekko
logger.pekko.level = warn
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} %m%n%ex
END
}

# archive_classes runs a cluster for a moment to keep the classes that its processes
# load in the form that Java maps into memory: that halves the CPU time of a start. Tests
# start dozens of them; what `start` starts runs without.
archive_classes() {
  [ ! -f "$home/classes.jsa" ] || return 0
  local scratch
  scratch=$(mktemp -d "$home/archive-XXXXXX")
  (
    dir=$scratch port=$((12000 + RANDOM % 9000)) rpc=$((22000 + RANDOM % 9000))
    mkdir "$scratch/tmp"
    settings >"$scratch/config.yaml"
    export FLINK_CONF_DIR=$scratch
    java=(java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "@$home/java.args")
    run() { # NAME CLASS ARGUMENTS...
      exec "${java[@]}" -XX:DumpLoadedClassList="$scratch/$1.classes" "${@:2}" >"$scratch/$1.log" 2>&1
    }
    run jobmanager org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint --configDir "$scratch" &
    jobmanager=$!
    run taskmanager org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir "$scratch" &
    taskmanager=$!
    for _ in $(seq 600); do
      if grep -q 'Successful registration' "$scratch/taskmanager.log" || ! kill -0 $jobmanager $taskmanager 2>/dev/null; then break; fi
      sleep 0.1
    done
    (run client org.apache.flink.client.cli.CliFrontend list) || true
    kill $taskmanager $jobmanager 2>/dev/null || true
    wait $taskmanager $jobmanager || true
    grep -q 'Successful registration' "$scratch/taskmanager.log" || fail "Flink $version does not start: $(tail -n 15 "$scratch/taskmanager.log")"
    cat "$scratch"/*.classes | grep -v '^#' | sort -u >"$scratch/classes"
    "${java[@]}" -Xshare:dump -XX:SharedClassListFile="$scratch/classes" -XX:SharedArchiveFile="$scratch/classes.jsa" >"$scratch/dump.log" 2>&1 ||
      fail "the classes of Flink $version can't be archived: $(tail -n 15 "$scratch/dump.log")"
  )
  mv "$scratch/classes.jsa" "$home/classes.jsa"
  rm -rf "$scratch"
}

install() {
  mkdir -p "$home"
  locked "$home/lock" fetch
  locked "$home/lock" archive_classes
  echo "$home"
}

settings() {
  cat <<END
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: $rpc
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: $port
rest.bind-port: $port
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: ${FLINK_SLOTS:-2}
taskmanager.cpu.cores: ${FLINK_SLOTS:-2}
taskmanager.memory.task.heap.size: 512m
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.managed.size: 256m
io.tmp.dirs: $dir/tmp
web.tmpdir: $dir/tmp
execution.checkpointing.dir: file://$dir/checkpoints
execution.checkpointing.savepoint-dir: file://$dir/savepoints
${FLINK_PROPERTIES:-}
END
}

start() {
  install >/dev/null
  free_port "$port" FLINK_PORT
  free_port "$rpc" FLINK_RPC_PORT
  mkdir -p "$dir/tmp"
  settings >"$dir/config.yaml"
  export FLINK_CONF_DIR=$dir
  local java=(java -Xms64m -XX:+UseSerialGC "-Djava.io.tmpdir=$dir/tmp" "@$home/java.args")
  launch flink-jobmanager "${java[@]}" "-Dlog.file=$data/flink-jobmanager.log" -Xmx512m org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint --configDir "$dir"
  await flink-jobmanager listens "$port"
  for i in $(seq "$managers"); do
    launch "flink-taskmanager-$i" "${java[@]}" "-Dlog.file=$data/flink-taskmanager-$i.log" -Xmx576m org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir "$dir"
  done
}

# overview prints a number of the REST interface's overview.
overview() {
  python3 - "http://$address/overview" "$1" <<'END'
import json, sys, urllib.request

print(json.load(urllib.request.urlopen(sys.argv[1], timeout=5))[sys.argv[2]])
END
}

health() { [ "$(overview taskmanagers)" -ge "$managers" ]; }

stop() {
  local file
  for file in "$data"/flink-taskmanager-*.pid; do
    [ ! -f "$file" ] || halt "$(basename "$file" .pid)"
  done
  halt flink-jobmanager
}

# client is Flink's own command line.
client() {
  logging | sed 's/= info/= error/' >"$dir/client-log4j2.properties"
  FLINK_CONF_DIR=$dir exec java -Xmx512m "@$home/java.args" "-Dlog4j.configurationFile=$dir/client-log4j2.properties" org.apache.flink.client.cli.CliFrontend "$@"
}

case ${1:-} in
  run | list | cancel | savepoint) client "$@" ;;
  stop-job) client stop "${@:2}" ;;
  *) dispatch "$@" ;;
esac
