#!/usr/bin/env bash
# Starts or stops the systems that Millrace works with, on 127.0.0.1 and without
# containers: services.sh start|stop|status [NAME...]. Without names, all.
set -euo pipefail
cd "$(dirname "$0")/services"
verb=${1:-}
[ $# = 0 ] || shift
[ $# -gt 0 ] || set -- kafka redis mariadb postgres flink

# each runs the verb for every service, and fails if one has.
each() {
  local failed=0
  for service in "$@"; do
    "./$service.sh" "$verb" || failed=1
  done
  return $failed
}

table() {
  echo
  printf '%-11s %-24s %s\n' service address 'how to log in' \
    kafka "127.0.0.1:${KAFKA_PORT:-9092}" 'no login, no TLS' \
    redis "127.0.0.1:${REDIS_PORT:-6379}" 'no password' \
    mariadb "127.0.0.1:${MARIADB_PORT:-3306}" 'database, user and password are millrace' \
    postgres "127.0.0.1:${POSTGRES_PORT:-5432}" 'database, user and password are millrace' \
    flink "http://127.0.0.1:${FLINK_PORT:-8081}" 'web interface and REST'
  cat <<END

A configuration that uses them (save it as millrace.yaml):

kafka:
  brokers: ["127.0.0.1:${KAFKA_PORT:-9092}"]
redis:
  addresses: ["127.0.0.1:${REDIS_PORT:-6379}"]
catalog:
  driver: postgres
  dsn: postgres://millrace:millrace@127.0.0.1:${POSTGRES_PORT:-5432}/millrace
  # or: driver: mysql
  # dsn: mysql://millrace:millrace@127.0.0.1:${MARIADB_PORT:-3306}/millrace
END
}

case $verb in
  start)
    each "$@"
    table
    ;;
  stop | status) each "$@" ;;
  *)
    echo "usage: $0 start|stop|status [kafka|redis|mariadb|postgres|flink]..." >&2
    exit 1
    ;;
esac
