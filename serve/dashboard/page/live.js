// The live figures at the top: the stream of stats, shown once a second.

import { Problem, stream } from "./api.js";
import { lines } from "./chart.js";
import { byId, setText } from "./dom.js";
import { bytes, compact, count, dateTime, duration, milliseconds, plural } from "./format.js";

const SECONDS = 120; // that the charts show
const RETRY_MS = [1000, 2000, 4000, 8000];

const tick = (ms) => (ms >= 1000 ? `${ms / 1000} s` : `${Number(ms.toFixed(2))} ms`);

const rate = lines(byId("chart-rate"), { names: ["events"], seconds: SECONDS, least: 10, label: compact });
const latency = lines(byId("chart-latency"), {
  names: ["p50", "p99"], seconds: SECONDS, least: 2, label: tick,
});

const history = { time: [], rate: [], p50: [], p99: [] };

function state(kind, text) {
  byId("state").dataset.state = kind;
  setText(byId("state-text"), text);
}

function remember(stats) {
  const idle = stats.events.per_second_60s === 0 && stats.latency_ms.max === 0;
  history.time.push(Date.parse(stats.time) / 1000);
  history.rate.push(stats.events.per_second_1s);
  history.p50.push(idle ? null : stats.latency_ms.p50);
  history.p99.push(idle ? null : stats.latency_ms.p99);
  while (history.time[0] < history.time.at(-1) - SECONDS - 2) {
    for (const list of Object.values(history)) list.shift();
  }
  return idle;
}

function show(stats) {
  const idle = remember(stats);
  const { events, latency_ms: ms, watermark: mark, queue } = stats;
  setText(byId("rate"), compact(Math.round(events.per_second_1s)));
  setText(byId("rate-recent"), `${compact(Math.round(events.per_second_10s))} a second over the last 10 s`);
  setText(byId("p50"), idle ? "–" : milliseconds(ms.p50));
  setText(byId("p99"), idle ? "–" : milliseconds(ms.p99));
  setText(byId("latency-note"), idle ? "no events in the last minute" : `slowest of the last minute ${milliseconds(ms.max)}`);
  setText(byId("events"), count(events.total));
  setText(byId("blocks"), count(stats.blocks));
  setText(byId("queue"), count(queue.blocks));
  setText(byId("queue-note"), queue.body_bytes > 0 ? `blocks, and ${bytes(queue.body_bytes)} arriving` : "blocks that wait");
  const [date, time] = dateTime(mark.stream_time).split(" ");
  setText(byId("stream-time"), time ?? "–");
  setText(byId("stream-date"), time ? `${date} UTC` : "before the first event");
  setText(byId("lag"), mark.watermark ? duration(mark.behind_stream_s) : "–");
  setText(byId("lag-note"), mark.watermark ? behindClock(mark.behind_clock_s) : "before the first event");
  setText(byId("memory"), bytes(stats.memory.total_bytes));
  setText(byId("uptime"), duration(stats.uptime_s));
  const shards = `on ${stats.shards === 1 ? "1 shard" : `${stats.shards} shards`}`;
  setText(byId("shards"), events.duplicates > 0 ? `${shards}, and ${plural(events.duplicates, "repeat")} ignored` : shards);
  setText(byId("version"), stats.version);
  rate.show([history.time, history.rate]);
  latency.show([history.time, history.p50, history.p99]);
}

const behindClock = (s) => (s < 0 ? `${duration(s)} ahead of the clock` : `${duration(s)} behind the clock`);

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let wake = () => {};

/** retry connects at once, if there is no connection. */
export const retry = () => wake();

/** run shows the live figures for as long as the page is open, and tells each one to onStats. */
export async function run(onStats) {
  for (let tries = 0; ; tries++) {
    let needsKey = false;
    try {
      await stream("/v1/stats/stream", (stats) => {
        tries = 0;
        show(stats);
        if (stats.failure) state("failed", `Failed: ${stats.failure}`);
        else state("live", "Live");
        onStats(stats);
      });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      needsKey = problem.status === 401;
    }
    const wait = RETRY_MS[Math.min(tries, RETRY_MS.length - 1)];
    if (needsKey) state("key", "API key needed");
    else state("lost", tries === 0 ? "Connecting again…" : `No connection, trying again in ${wait / 1000} s`);
    await Promise.race([needsKey ? new Promise(() => {}) : pause(wait), new Promise((done) => { wake = done; })]);
  }
}
