#!/usr/bin/env bash
# Redis 7. Environment: REDIS_PORT (6379), REDIS_ARGS (further arguments). `install`
# prints the path of the server.
. "$(dirname "$0")/lib.sh"
name=redis
port=${REDIS_PORT:-6379}
address=127.0.0.1:$port

fetch() { command -v redis-server >/dev/null || apt_install redis-server; }

install() {
  locked "$cache/apt.lock" fetch
  command -v redis-server
}

start() {
  local server
  server=$(install)
  free_port "$port" REDIS_PORT
  mkdir -p "$data/redis"
  # shellcheck disable=SC2086 # REDIS_ARGS are several words
  launch redis "$server" --port "$port" --bind 127.0.0.1 --dir "$data/redis" --appendonly yes --appendfsync everysec ${REDIS_ARGS:-}
}

health() { [ "$(redis-cli -h 127.0.0.1 -p "$port" ping)" = PONG ]; }

stop() { halt redis; }

dispatch "$@"
