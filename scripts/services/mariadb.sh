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
dispatch "$@"
