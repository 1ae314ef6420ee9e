#!/usr/bin/env bash
# Measures what goes through Kafka and Redis, on a broker and a Redis of its own, which
# are gone afterwards: a topic into the log, results into topics, and fronts that
# answer from Redis. Arguments are those of internal/bench, such as -seconds 30.
set -euo pipefail
cd "$(dirname "$0")/.."
export KAFKA_PORT=${KAFKA_PORT:-29092} KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-29093} REDIS_PORT=${REDIS_PORT:-26379}
SERVICES_DATA=$(mktemp -d)
export SERVICES_DATA
finish() {
  scripts/services/kafka.sh stop || true
  scripts/services/redis.sh stop || true
  rm -rf "$SERVICES_DATA"
}
trap finish EXIT
go build -trimpath -o bin/millrace ./cmd/millrace
go build -trimpath -o bin/bench ./internal/bench
scripts/services/kafka.sh start
bin/bench -millrace bin/millrace -kafka "127.0.0.1:$KAFKA_PORT" "$@"
scripts/services/kafka.sh stop
scripts/services/redis.sh start
redis-cli -p "$REDIS_PORT" config set appendonly no >/dev/null # views need no persistence
redis-cli -p "$REDIS_PORT" config set save '' >/dev/null
bin/bench -millrace bin/millrace -redis "127.0.0.1:$REDIS_PORT" "$@"
