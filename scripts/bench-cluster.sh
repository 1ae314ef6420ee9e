#!/usr/bin/env bash
# Measures what an event costs each process of a cluster: the same topic is read by
# one millrace server and by a job on Flink, both with answers in Redis, one after
# the other; what counts is the middle of the topic. Starts its own Kafka, Redis and
# Flink; EVENTS (3000000), USERS (20000), ITEMS (5000), BACKEND (rocksdb or hashmap).
# Needs an idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
export SERVICES_DATA=${SERVICES_DATA:-/var/tmp/millrace-bench-cluster}
export KAFKA_PORT=29092 KAFKA_CONTROLLER_PORT=29093 REDIS_PORT=26379 FLINK_PORT=28081 FLINK_RPC_PORT=26123 KAFKA_HEAP=1g
events=${EVENTS:-3000000} users=${USERS:-20000} items=${ITEMS:-5000} backend=${BACKEND:-rocksdb}
scratch=$SERVICES_DATA/bench
stop() {
  scripts/services.sh stop flink redis kafka >&2 || true
}
trap stop EXIT
scripts/services.sh stop flink redis kafka >/dev/null 2>&1 || true
rm -rf "$SERVICES_DATA"
mkdir -p "$scratch"
scripts/flink.sh
go build -trimpath -o "$scratch/millrace" ./cmd/millrace
scripts/services.sh start kafka redis flink >&2
millrace=$scratch/millrace

settings() { # PREFIX
  cat <<END
data: $scratch/data-$1
listen: 127.0.0.1:28080
kafka:
  brokers: ["127.0.0.1:$KAFKA_PORT"]
  topics: [{topic: user-events}]
  group: $1
redis: {addresses: ["127.0.0.1:$REDIS_PORT"], prefix: $1}
END
}
settings embedded >"$scratch/embedded.yaml"
settings flink >"$scratch/flink.yaml"

# The history: through a log, as that is how it is keyed by user.
"$millrace" generate --events "$events" --users "$users" --items "$items" --event-ids --to "$scratch/events.jsonl" >&2
"$millrace" replay "$scratch/events.jsonl" --data "$scratch/history" --json >"$scratch/replay.json"
"$millrace" export --data "$scratch/history" --config "$scratch/embedded.yaml" --topic user-events --partitions 4 --json >"$scratch/export.json"

python3 - "$scratch" "$events" "$backend" "$FLINK_PORT" "$REDIS_PORT" "$users" "$items" <<'END'
import atexit, json, os, re, signal, subprocess, sys, time, urllib.request

scratch, events, backend, flink, redis = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
users, items = int(sys.argv[6]), int(sys.argv[7])
tick = os.sysconf("SC_CLK_TCK")


def processes():
    """CPU seconds and resident MB of our processes, by what they are."""
    kinds = {"kafka": "kafka.Kafka", "redis": "redis-server", "job manager": "StandaloneSessionCluster",
             "task manager": "TaskManagerRunner", "worker": " worker --socket", "server": " serve --config"}
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
            if os.path.dirname(scratch) not in line + os.readlink(f"/proc/{pid}/cwd") + open(f"/proc/{pid}/environ").read():
                continue
            stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            rss = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024
        except (OSError, TypeError):
            continue
        for kind, text in kinds.items():
            if text in line:
                cpu, most = found.get(kind, (0, 0))
                found[kind] = (cpu + (int(stat[11]) + int(stat[12])) / tick, most + rss)
    return found


def lag(group):
    out = subprocess.run(["scripts/services/kafka.sh", "groups", "--describe", "--group", group], capture_output=True, text=True).stdout
    rows = [line.split() for line in out.splitlines() if " user-events " in line]
    if len(rows) < 4 or any(not row[5].isdigit() for row in rows):
        return events
    # Flink commits where the last record was read, which is before the mark of the
    # export's transaction: one in each partition never goes.
    return sum(max(0, int(row[5]) - 1) for row in rows)


def info(section, field):
    out = subprocess.run(["redis-cli", "-p", redis, "info", section], capture_output=True, text=True).stdout
    return int(re.search(field + r":(\d+)", out)[1])


def measure(name, group, start):
    """What events cost in the middle of the topic: all is started and warm, and what
    a group has committed lags behind what is read by the same time at both ends."""
    start()
    first = None
    while True:
        now, left, used = time.time(), lag(group), processes()
        if first is None and left <= events * 0.75:
            first = now, left, used
            subprocess.run(["redis-cli", "-p", redis, "config", "resetstat"], capture_output=True)
        if left <= events * 0.15:
            break
        time.sleep(1)
    if left == first[1]:
        sys.exit("all events were read before anything could be measured: EVENTS is too small")
    read, took = first[1] - left, now - first[0]
    print(f"\n{name}: {read} events at {read / took:.0f}/s")
    for kind in sorted(used):
        cpu = used[kind][0] - first[2].get(kind, (0, 0))[0]
        print(f"  {kind:13} {cpu / read * 1e6:7.2f} CPU s per million   {used[kind][1]:6.0f} MB at most")
    print(f"  redis took {info('stats', 'total_net_input_bytes') / read:.0f} bytes and {info('stats', 'total_commands_processed') / read:.2f} commands an event, "
          f"has {info('memory', 'used_memory') / 1e6:.0f} MB")


for file in "replay", "export":
    print(file, open(f"{scratch}/{file}.json").read().strip())
size = sum(os.path.getsize(os.path.join(at, f)) for at, _, files in os.walk(f"{scratch}/history/log") for f in files)
print(f"log {size / events:.0f} bytes an event")
topic = sum(os.path.getsize(os.path.join(at, f)) for at, _, files in os.walk(os.path.dirname(scratch) + "/kafka")
            if "user-events-" in at for f in files if f.endswith(".log"))
print(f"topic {topic / events:.0f} bytes an event")

server = None
atexit.register(lambda: server and server.kill())


def serve():
    global server
    server = subprocess.Popen([f"{scratch}/millrace", "serve", "--config", f"{scratch}/embedded.yaml"], stderr=open(f"{scratch}/server.log", "w"))


measure("one server from Kafka, answers in Redis", "embedded", serve)
while lag("embedded") > 0:
    time.sleep(1)
server.send_signal(signal.SIGINT)
server.wait()
subprocess.run(["redis-cli", "-p", redis, "flushall"], capture_output=True)


def submit():
    subprocess.run(["scripts/services/flink.sh", "run", "-d", "-p", "2", f"-Dstate.backend.type={backend}", "build/millrace-flink.jar",
                    "--config", f"{scratch}/flink.yaml", "--checkpoint-interval", "2000"], check=True, capture_output=True)


measure(f"Flink from Kafka with {backend}, answers in Redis", "flink", submit)


def rest(path):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{flink}{path}"))


while lag("flink") > 0:
    time.sleep(1)
job = rest("/jobs/overview")["jobs"][0]["jid"]
for _ in range(2):  # Flink gathers its metrics when it is asked, but not twice within ten seconds
    rest(f"/jobs/{job}")
    time.sleep(12)
tasks = rest(f"/jobs/{job}")["vertices"]
print("between tasks, by where it comes from, for each event of the topic:")
for task in tasks:
    m = task["metrics"]
    print(f"  {m['write-records'] / events:6.2f} records {m['write-bytes'] / events:6.0f} bytes   {task['name'].split(' -> ')[0]}")
last = rest(f"/jobs/{job}/checkpoints")["latest"]["completed"]
print(f"state in a checkpoint: {last['state_size'] / 1e6:.1f} MB in {last['end_to_end_duration']} ms, {last['state_size'] / (users + items):.0f} bytes for each user and item")
END
