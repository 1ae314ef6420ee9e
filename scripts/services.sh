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

kafka=127.0.0.1:${KAFKA_PORT:-9092} redis=127.0.0.1:${REDIS_PORT:-6379} mariadb=127.0.0.1:${MARIADB_PORT:-3306}
postgres=127.0.0.1:${POSTGRES_PORT:-5432} flink=127.0.0.1:${FLINK_PORT:-8081}

# up tells whether a service is among those that run.
up() { [[ " $running " == *" $1 "* ]]; }

# row prints the line of a service if that runs.
row() { ! up "$1" || printf '%-11s %-24s %s\n' "$1" "$2" "$3"; }

# table prints the services that run, whoever has started them.
table() {
  running=$(for service in kafka redis mariadb postgres flink; do
    [[ $("./$service.sh" status) != *" runs on "* ]] || echo "$service"
  done | paste -sd' ')
  [ -n "$running" ] || return 0
  printf '\n%-11s %-24s %s\n' service address 'how to log in'
  row kafka "$kafka" 'no login, no TLS'
  row redis "$redis" 'no password'
  row mariadb "$mariadb" 'database, user and password are millrace'
  row postgres "$postgres" 'database, user and password are millrace'
  row flink "http://$flink" 'web interface and REST'
}

# configuration prints how Millrace is told of those that run. Flink needs none: jobs
# are submitted to it.
configuration() {
  local login=millrace:millrace
  [[ -n $running && $running != flink ]] || return 0
  printf '\nA configuration that uses them (save it as millrace.yaml):\n\n'
  ! up kafka || printf 'kafka:\n  brokers: ["%s"]\n' "$kafka"
  ! up redis || printf 'redis:\n  addresses: ["%s"]\n' "$redis"
  if up postgres; then
    printf 'catalog:\n  driver: postgres\n  dsn: postgres://%s@%s/millrace\n' "$login" "$postgres"
    ! up mariadb || printf '  # or: driver: mysql\n  # dsn: mysql://%s@%s/millrace\n' "$login" "$mariadb"
  elif up mariadb; then
    printf 'catalog:\n  driver: mysql\n  dsn: mysql://%s@%s/millrace\n' "$login" "$mariadb"
  fi
}

case $verb in
  start)
    failed=0
    each "$@" || failed=1
    table
    configuration
    exit $failed
    ;;
  stop | status) each "$@" ;;
  *)
    echo "usage: $0 start|stop|status [kafka|redis|mariadb|postgres|flink]..." >&2
    exit 1
    ;;
esac
