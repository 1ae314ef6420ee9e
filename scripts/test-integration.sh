#!/usr/bin/env bash
# Runs the tests that need real systems: Kafka, Redis, MariaDB, PostgreSQL and Flink.
# They are those that reach internal/services (internal/services/needing finds them),
# so there is no list to keep, and tests that need none are not run again. Arguments
# are go test's, such as -run Kafka.
set -euo pipefail
cd "$(dirname "$0")/.."
for service in kafka redis mariadb postgres flink; do
  scripts/services/$service.sh install >/dev/null
done
# All of them means those in Java, too; the jar that they build is what runs on clusters.
[ $# -gt 0 ] || scripts/flink.sh test
# Who reads the variable gives tests their services, or is such a test itself.
folders=$(git grep -l '"MILLRACE_SERVICES"' -- '*.go' | xargs -n1 dirname | sort -u)
pattern=" (millrace/$(paste -sd'|' <<<"$folders" | sed 's/|/|millrace\//g'))( |\$)"
packages=$({
  sed 's|^|millrace/|' <<<"$folders"
  go list -test -f '{{if .ForTest}}{{.ForTest}} {{join .Deps " "}}{{end}}' ./... | grep -E "$pattern" | cut -d' ' -f1
} | sort -u | grep -v /needing)
# Packages that are for tests and start systems.
starters=$(go list -f '{{.Name}} {{join .Imports " "}}' ./... | grep ' millrace/internal/services\( \|$\)' | cut -d' ' -f1 | grep -v '^main$' | paste -sd,)
tests=$(go run ./internal/services/needing -starters "services${starters:+,$starters}" $(sed 's|^millrace/||' <<<"$packages"))
echo "packages with integration tests:" $packages
[ $# -gt 0 ] || set -- -run "$tests"
# They wait most of the time: for systems to start, and to notice that they were killed.
# shellcheck disable=SC2086 # one word for each package
MILLRACE_SERVICES=required exec go test -count=1 -p 2 -parallel 3 -timeout 25m "$@" $packages
