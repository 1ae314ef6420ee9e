// What is trending, kept up to date while one looks.

import { get } from "./api.js";
import { byId, el, glide, keyed, setText, setVars } from "./dom.js";
import { score } from "./format.js";
import { details, line } from "./items.js";

const EVERY_MS = 2000;
const LENGTH = 10;

// The half-lives and age bands that the server knows.
const halfLives = [["1h", "1 hour"], ["1d", "1 day"], ["7d", "1 week"], ["30d", "1 month"]];
const ages = ["under-18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"];
const DEFAULT_HALF_LIFE = "1d";

let under = null; // the request that is under way

function row(item) {
  const node = line(item, el("p", { className: "reason" }), el("span", { className: "score", title: "heat" }), el("span", { className: "track", "aria-hidden": "true" }, el("span", {})));
  details(item.item_id).then(
    ({ categories }) => setText(node.querySelector(".reason"), categories.join(", ")),
    () => {}, // an item that is only known from events has no categories
  );
  return node;
}

function show(items) {
  const most = Math.max(...items.map((item) => item.heat), Number.MIN_VALUE);
  const list = byId("trending-list");
  glide(list, () => keyed(list, items, (item) => item.item_id, row, (node, item) => {
    setText(node.querySelector(".score"), score(item.heat));
    setVars(node.querySelector(".track > span"), { share: `${((100 * item.heat) / most).toFixed(2)}%` });
  }));
}

/** cohort is the name of the people that were chosen, empty for all. */
function cohortName() {
  const parts = [["age", byId("cohort-age").value], ["gender", byId("cohort-gender").value.trim().toLowerCase()]];
  return parts.filter(([, value]) => value).map(([name, value]) => `${name}:${value}`).join("/");
}

/** chosen is called when one of the filters was changed: a category and a cohort do not go together. */
function chosen({ target }) {
  if (target.id === "trending-category" && target.value) {
    byId("cohort-age").value = "";
    byId("cohort-gender").value = "";
  } else if (target.id.startsWith("cohort") && target.value) {
    byId("trending-category").value = "";
  }
  refresh();
}

function nothing(category, cohort) {
  if (category) return `Nothing is trending in “${category}”. Check how it is written, or choose all.`;
  if (cohort) return "Nothing is trending in this cohort. It counts the events of users whose age and gender were known at the time.";
  return "Nothing is trending yet. Send some events, and the hottest items appear here.";
}

async function refresh() {
  under?.abort();
  const mine = new AbortController();
  under = mine;
  const [category, cohort] = [byId("trending-category").value.trim(), cohortName()];
  try {
    const answer = await get("/v1/trending", { n: LENGTH, half_life: byId("half-life").value, category, cohort }, mine.signal);
    show(answer.items);
    setText(byId("trending-hint"), answer.items.length ? "" : nothing(category, cohort));
  } catch (problem) {
    if (problem.name !== "AbortError" && problem.status !== 401) setText(byId("trending-hint"), problem.message);
  } finally {
    if (under === mine) under = null;
  }
}

/** run keeps the list up to date while the page is visible. */
export function run() {
  byId("half-life").append(...halfLives.map(([value, text]) => el("option", { value, textContent: text, selected: value === DEFAULT_HALF_LIFE })));
  byId("cohort-age").append(...["", ...ages].map((value) => el("option", { value, textContent: value || "all" })));
  for (const id of ["half-life", "trending-category", "cohort-age", "cohort-gender"]) byId(id).addEventListener("change", chosen);
  refresh();
  setInterval(() => {
    if (!document.hidden && !under) refresh();
  }, EVERY_MS);
}
