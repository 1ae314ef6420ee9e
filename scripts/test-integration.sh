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
all=$#
[ $# -gt 0 ] || set -- -run "$tests"
go_test() { MILLRACE_SERVICES=required go test -count=1 -timeout 25m "$@"; }

# They wait most of the time: for systems to start, and to notice that they were killed.
# So those on Flink's clusters run beside the others. All of them means those in
# Java first; the jar that they build is what runs on the clusters.
log=$(mktemp)
on_flink() {
  [ "$all" -gt 0 ] || scripts/flink.sh test || return
  go_test -parallel 2 "$@" millrace/flink
}
set -m # a process group of its own, which is to end with this script
on_flink "$@" >"$log" 2>&1 </dev/null &
flink=$!
set +m
trap 'kill -- -$flink 2>/dev/null || true; rm -f "$log"' EXIT
failed=0
# shellcheck disable=SC2046 # one word for each package
go_test -p 1 -parallel 3 "$@" $(grep -v '^millrace/flink$' <<<"$packages") || failed=$?
wait $flink || failed=$?
cat "$log"
exit $failed
