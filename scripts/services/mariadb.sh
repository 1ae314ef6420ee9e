#!/usr/bin/env bash
# MariaDB 10.11. Environment: MARIADB_PORT (3306). Database, user and password are
# millrace. `install` prints the path of the server.
. "$(dirname "$0")/lib.sh"
name=mariadb
port=${MARIADB_PORT:-3306}
address=127.0.0.1:$port
export PATH=$PATH:/usr/sbin

fetch() { command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null || apt_install mariadb-server; }

install() {
  locked "$cache/apt.lock" fetch
  command -v mariadbd
}

start() {
  local server dir=$data/mariadb me
  server=$(install)
  me=$(id -un)
  free_port "$port" MARIADB_PORT
  # A MariaDB that starts removes what another has of temporary tables in the same folder.
  mkdir -p "$dir/tmp"
  if [ ! -d "$dir/data" ]; then
    mariadb-install-db --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --user="$me" --auth-root-authentication-method=normal --skip-test-db >"$dir/install.log" ||
      fail "mariadb-install-db has failed; see $dir/install.log"
  fi
  cat >"$dir/first.sql" <<'END'
CREATE DATABASE IF NOT EXISTS millrace CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'millrace'@'%' IDENTIFIED BY 'millrace';
GRANT ALL ON *.* TO 'millrace'@'%' WITH GRANT OPTION;
END
  # The path of a Unix socket may have 107 bytes at most, so it has a name relative to the data.
  launch mariadb "$server" --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --user="$me" --socket=mariadb.sock \
    --port="$port" --bind-address=127.0.0.1 --init-file="$dir/first.sql"
}

health() { mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$port" -u millrace -pmillrace -e 'SELECT 1' millrace >/dev/null; }

stop() { halt mariadb; }

dispatch "$@"
