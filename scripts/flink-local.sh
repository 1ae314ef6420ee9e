#!/usr/bin/env bash
# Runs a reference job as Go stages in Flink, in one JVM beside its worker, and
# prints what it took: the counterpart of the script that runs plain Java jobs.
#   flink-local.sh JOB EVENTS BACKEND [--ckpt MS] [--rate N --latency] ...
# scripts/bench-flink-host.sh builds what it needs.
set -euo pipefail
flink=$(cd "$(dirname "$0")/../flink" && pwd)
job=$1 events=$2 backend=$3
shift 3
opens=()
for package in util lang time util.concurrent nio; do opens+=("--add-opens=java.base/java.$package=ALL-UNNAMED"); done
# shellcheck disable=SC2086 # options are several words
exec java ${JOPTS:--Xms512m -Xmx2g} "${opens[@]}" -Dmillrace.binary="$flink/target/binary/millrace" \
  -cp "$flink/target/test-classes:$flink/target/classes:$(cat "$flink/target/classpath")" \
  millrace.flink.Local --job "$job" --events "$events" --backend "$backend" --parallelism 2 "$@"
