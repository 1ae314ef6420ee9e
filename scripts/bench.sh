#!/usr/bin/env bash
# Measures the figures of docs/benchmarks.md and prints them as a table.
set -euo pipefail
cd "$(dirname "$0")/.."
go build -trimpath -o bin/millrace ./cmd/millrace
go run ./internal/bench -millrace bin/millrace "$@"
