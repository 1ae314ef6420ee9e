#!/usr/bin/env bash
# Adds the golden savepoint of a release: made once, with the release itself, and
# never changed afterwards. Every later release is tested against it.
set -euo pipefail
cd "$(dirname "$0")/.."
release=${1:?usage: scripts/golden-savepoint.sh RELEASE, such as 0.2.0}
to=savepoint/testdata/golden/$release
if [ -e "$to" ]; then
  echo "$to is there already: golden savepoints are never changed" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -trimpath -o "$work/millrace" ./cmd/millrace
"$work/millrace" generate --events 1000 --users 40 --items 30 --seed 2026 --rate 0.2 --event-ids --to "$work/events.jsonl"
"$work/millrace" replay "$work/events.jsonl" --data "$work/data" --log-level error
"$work/millrace" savepoint create golden --data "$work/data" --to "$to"
go test ./cmd/millrace -count=1 -run '^TestGoldenSavepoints$' -golden.record "$release"
du -sh "$to"
