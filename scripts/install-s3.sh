#!/usr/bin/env bash
# Installs versitygw, the S3 server that tests run against, into the user's
# cache if it is not there, and prints the path of the program. The version is
# pinned; Go checks what it downloads against the checksum database.
set -euo pipefail
version=v1.8.0
dir=${XDG_CACHE_HOME:-$HOME/.cache}/millrace/versitygw-$version
if [ ! -x "$dir/versitygw" ]; then
  mkdir -p "$dir"
  (cd "$dir" && GOBIN="$dir" GOFLAGS=-buildvcs=false CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@$version") >&2
fi
echo "$dir/versitygw"
