#!/usr/bin/env bash
# PostgreSQL 15. Environment: POSTGRES_PORT (5432). Database, user and password are
# millrace. `install` prints the folder of its programs.
. "$(dirname "$0")/lib.sh"
name=postgres
port=${POSTGRES_PORT:-5432}
address=127.0.0.1:$port

# programs prints the folder of the newest PostgreSQL that is installed.
programs() {
  local dir
  dir=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
  [ -n "$dir" ] && [ -x "$dir/postgres" ] && echo "$dir"
}

fetch() { programs >/dev/null || apt_install postgresql; }

install() {
  locked "$cache/apt.lock" fetch
  programs
}
dispatch "$@"
