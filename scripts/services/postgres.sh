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

# as_user runs a command as a user that PostgreSQL accepts: not root.
as_user() {
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

start() {
  local bin dir=$data/postgres
  bin=$(install)
  free_port "$port" POSTGRES_PORT
  mkdir -p "$dir"
  if [ "$(id -u)" = 0 ]; then
    chown postgres "$dir"
    as_user test -x "$dir" || fail "PostgreSQL runs as the user postgres, who may not enter $dir: set SERVICES_DATA to a folder that it may enter, such as /var/tmp/millrace-services"
  fi
  if [ ! -d "$dir/data" ]; then
    echo millrace >"$dir/password"
    chmod 644 "$dir/password"
    as_user "$bin/initdb" -D "$dir/data" -U millrace --pwfile="$dir/password" -A scram-sha-256 --locale=C -E UTF8 >"$data/postgres-initdb.log" 2>&1 ||
      fail "initdb has failed: see $data/postgres-initdb.log"
    echo 'CREATE DATABASE millrace' | as_user "$bin/postgres" --single -D "$dir/data" postgres >>"$data/postgres-initdb.log" 2>&1
  fi
  if [ "$(id -u)" = 0 ]; then
    launch postgres setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
  else
    launch postgres "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
  fi
}

health() { PGPASSWORD=millrace "$(programs)/psql" -h 127.0.0.1 -p "$port" -U millrace -tAc 'SELECT 1' millrace >/dev/null; }

stop() { halt postgres INT; }

dispatch "$@"
