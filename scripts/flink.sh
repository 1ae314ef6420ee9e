#!/usr/bin/env bash
# Builds build/millrace-flink.jar: the operator host for Apache Flink with the
# millrace binary inside. `flink.sh test` runs its tests first, and the operators' own
# tests (go test) in the operator test harness of Flink with them. Needs Java 17
# and Maven, which fetches Flink's jars once; after that no network is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=flink/target/binary
mkdir -p "$binary" build
CGO_ENABLED=0 ${GO:-go} build -trimpath -ldflags='-s -w' -o "$binary/millrace" ./cmd/millrace
goals=(package -DskipTests)
[ "${1:-}" != test ] || goals=(package)
maven() { mvn -B -q "$@" -f flink/pom.xml "${goals[@]}"; }
if [ "${1:-}" = test ]; then
  maven
else
  maven -o >build/maven.log 2>&1 || maven
fi
cp flink/target/millrace-flink.jar build/millrace-flink.jar
