#!/usr/bin/env bash
# Runs the tests that need real systems: Kafka, Redis, MariaDB, PostgreSQL and Flink. The
# packages are those whose tests reach one that gives them services, so there is no
# list to keep. Arguments are go test's, such as -run Kafka.
set -euo pipefail
cd "$(dirname "$0")/.."
for service in kafka redis mariadb postgres flink; do
  scripts/services/$service.sh install >/dev/null
done
# All of them means those in Java, too; the jar that they build is what runs on clusters.
[ $# -gt 0 ] || scripts/flink.sh test
# Who reads the variable gives tests their services, or is such a test itself.
folders=$(git grep -l '"MILLRACE_SERVICES"' -- '*.go' | xargs -n1 dirname | sort -u | sed 's|^|millrace/|')
pattern=" ($(paste -sd'|' <<<"$folders"))( |\$)"
packages=$({
  echo "$folders"
  go list -test -f '{{if .ForTest}}{{.ForTest}} {{join .Deps " "}}{{end}}' ./... | grep -E "$pattern" | cut -d' ' -f1
} | sort -u)
echo "packages with integration tests:" $packages
# shellcheck disable=SC2086 # one word for each package
MILLRACE_SERVICES=required exec go test -count=1 -p 2 -timeout 30m "$@" $packages
