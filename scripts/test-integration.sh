#!/usr/bin/env bash
# Runs the tests that need real systems: Kafka, Redis, MariaDB, PostgreSQL and Flink. The
# packages are those whose tests reach internal/services, so there is no list to
# keep. Arguments are go test's, such as -run Kafka.
set -euo pipefail
cd "$(dirname "$0")/.."
for service in kafka redis mariadb postgres flink; do
  scripts/services/$service.sh install >/dev/null
done
packages=$(go list -test -f '{{if .ForTest}}{{.ForTest}} {{join .Deps " "}}{{end}}' ./... |
  grep -E ' millrace/internal/services( |$)' | cut -d' ' -f1 | sort -u)
packages="millrace/internal/services $(grep -v '^millrace/internal/services$' <<<"$packages" || true)"
echo "packages with integration tests:" $packages
# shellcheck disable=SC2086 # one word for each package
MILLRACE_SERVICES=required exec go test -count=1 -p 2 -timeout 30m "$@" $packages
