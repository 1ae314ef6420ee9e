#!/usr/bin/env bash
# House rules that golangci-lint has no rule for: files of at most 500 lines,
# folders of at most 12 production files.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
while read -r file; do
  lines=$(wc -l <"$file")
  if [ "$lines" -gt 500 ]; then
    echo "$file: $lines lines, at most 500"
    bad=1
  fi
done < <(git ls-files '*.go')
while read -r count dir; do
  if [ "$count" -gt 12 ]; then
    echo "$dir: $count production files, at most 12"
    bad=1
  fi
done < <(git ls-files '*.go' | grep -v '_test\.go$' | xargs -n1 dirname | sort | uniq -c)
exit $bad
