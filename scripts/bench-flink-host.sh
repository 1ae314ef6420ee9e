#!/usr/bin/env bash
# Runs reference jobs as Go stages in Flink and as plain Java jobs on Flink, in
# turns, and prints medians and ratios. Needs Java 17 and Maven.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/flink.sh
mvn -B -q -f flink/pom.xml test-compile dependency:build-classpath -Dmdep.outputFile=target/classpath -Dmdep.includeScope=test
go build -trimpath -o bin/benchflink ./internal/benchflink
exec bin/benchflink -host scripts/flink-local.sh -jobs J1,J2,J4,J6 "$@"
