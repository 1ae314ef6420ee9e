// The history of checkpoints: how long they took, how much they wrote, and what
// could be done about it.

import { get } from "./api.js";
import { bars } from "./chart.js";
import { byId, el, keyed, setText } from "./dom.js";
import { bytes, clock, count, milliseconds } from "./format.js";

const EVERY_MS = 3000;
const BARS = 40;
const ROWS = 8;

let shown = [];
const naming = (i) => (Number.isInteger(i) && shown[i] ? `#${count(shown[i].block)}` : "");
const durations = bars(byId("chart-duration"), { name: "events", least: 5, label: (ms) => (ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`), naming });
const binary = Array.from({ length: 41 }, (_, power) => 2 ** power);
const sizes = bars(byId("chart-size"), { name: "p99", least: 1024, label: bytes, naming, steps: binary });

function row() {
  return el("tr", {}, ...["", "", "number", "number", "number", "number"].map((kind) => el("td", { className: kind })));
}

function fill(node, c) {
  const texts = [`#${count(c.block)}`, clock(c.started), milliseconds(c.duration_ms), milliseconds(c.stall_ms), bytes(c.bytes), count(c.keys)];
  texts.forEach((text, i) => setText(node.cells[i], text));
}

const LEVELS = { critical: "Now: ", warning: "Soon: ", info: "" };

function advise(node, advice) {
  node.dataset.level = advice.level;
  setText(node, LEVELS[advice.level] + advice.text);
}

async function refresh() {
  const answer = await get("/v1/checkpoints");
  const list = answer.checkpoints;
  shown = list.slice(-BARS);
  const places = shown.map((_, i) => i);
  durations.show([places, shown.map((c) => c.duration_ms)]);
  sizes.show([places, shown.map((c) => c.bytes)]);
  keyed(byId("checkpoint-rows"), shown.slice(-ROWS).reverse(), (c) => `${c.started} ${c.block}`, row, fill);
  setText(byId("duration-note"), list.length ? `mean ${milliseconds(answer.duration_ms.average)}, longest ${milliseconds(answer.duration_ms.maximum)}` : "");
  setText(byId("size-note"), list.length ? `mean ${bytes(answer.bytes.average)}, largest ${bytes(answer.bytes.maximum)}` : "");
  keyed(byId("checkpoint-advice"), answer.advice, (advice) => advice.code, () => el("li"), advise);
}

/** run keeps the history up to date while the page is visible. */
export function run() {
  let under = false;
  const update = async () => {
    if (under || document.hidden) return;
    under = true;
    try {
      await refresh();
      setText(byId("checkpoint-error"), "");
    } catch (problem) {
      setText(byId("checkpoint-error"), problem.status === 401 ? "" : problem.message);
    } finally {
      under = false;
    }
  };
  update();
  setInterval(update, EVERY_MS);
}
