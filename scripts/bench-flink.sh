#!/usr/bin/env bash
# Runs the six reference jobs here and on Apache Flink in turns, and prints
# medians and ratios. Needs Java 17 and Maven; the first run fetches Flink.
set -euo pipefail
cd "$(dirname "$0")/.."
go build -trimpath -o bin/millrace ./cmd/millrace
go build -trimpath -o bin/benchflink ./internal/benchflink
exec bin/benchflink "$@"
