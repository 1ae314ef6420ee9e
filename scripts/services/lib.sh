# What the scripts of this folder share: where things lie, and a process in the
# background with a pid file. Sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millrace
data=${SERVICES_DATA:-$root/build/services}

say() { echo "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# as_root runs a command as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# locked FILE COMMAND... runs the command while no other process holds the
# lock: two test packages may want the same installation at once.
locked() {
  mkdir -p "$(dirname "$1")"
  (
    exec 9>"$1"
    flock 9
    shift
    "$@"
  )
}

# apt_install PACKAGE... installs Debian's packages. Services of the machine are not
# started: what runs here is ours, on ports of ours.
apt_install() {
  say "installing $* with apt"
  as_root apt-get update -qq >&2
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >&2
}

# birth PID prints when a process was started, in ticks since the machine was: with
# it, a process that has got the id of one that is gone is told from it.
birth() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # What follows the name in brackets, which may hold anything, is field 3.
  awk '{print $20}' <<<"${stat##*) }"
}

# running NAME tells whether the process of NAME's pid file lives.
running() {
  local pid born
  read -r pid born 2>/dev/null <"$data/$1.pid" || return 1
  [ -n "$pid" ] && [ "$(birth "$pid")" = "$born" ]
}

# launch NAME COMMAND... starts a process in the background, its output in
# NAME.log, its id in NAME.pid.
launch() {
  local name=$1
  shift
  mkdir -p "$data"
  [ ! -f "$data/$name.log" ] || mv "$data/$name.log" "$data/$name.log.1"
  setsid "$@" >"$data/$name.log" 2>&1 </dev/null &
  echo "$! $(birth $!)" >"$data/$name.pid"
}

# await NAME COMMAND... waits until the command succeeds, at most 60 s.
await() {
  local name=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    running "$name" || fail "$name has ended; the end of $data/$name.log: $(tail -n 15 "$data/$name.log")"
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "$name does not answer after 60 s; see $data/$name.log"
    sleep 0.1
  done
}

# halt NAME [SIGNAL] ends the process of a pid file, by force after 20 s.
halt() {
  local pid
  running "$1" || {
    rm -f "$data/$1.pid"
    return 0
  }
  read -r pid _ <"$data/$1.pid"
  kill "-${2:-TERM}" "$pid"
  for _ in $(seq 200); do
    running "$1" || break
    sleep 0.1
  done
  ! running "$1" || kill -KILL "$pid"
  rm -f "$data/$1.pid"
  say "$1 has stopped"
}

# listens PORT tells whether something accepts connections on 127.0.0.1:PORT.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port PORT NAME fails with words if the port is taken.
free_port() {
  ! listens "$1" || fail "port $1 on 127.0.0.1 is taken by another process; choose another with $2"
}

# dispatch runs the verb. Each script has the functions install, start,
# health and stop, and the variables name and address.
dispatch() {
  case ${1:-} in
    install) install ;;
    start)
      if running "$name"; then
        say "$name runs already on $address"
      else
        start
        await "$name" health
        say "$name is up on $address"
      fi
      ;;
    health)
      if health; then echo "$name answers on $address"; else fail "$name does not answer on $address"; fi
      ;;
    stop) stop ;;
    status)
      if ! running "$name"; then
        echo "$name is not running"
      elif health >/dev/null 2>&1; then
        echo "$name runs on $address, process $(cut -d" " -f1 "$data/$name.pid")"
      else
        echo "$name runs, process $(cut -d" " -f1 "$data/$name.pid"), but does not answer on $address; see $data/$name.log"
      fi
      ;;
    *) fail "usage: $0 install|start|health|stop|status${verbs:-}" ;;
  esac
}
