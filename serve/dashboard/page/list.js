// The two lists of the workbench: what the shopper did lately, and what is
// recommended, with what changed since the list before.

import { byId, el, glide, keyed, setText, setVars } from "./dom.js";
import { before, dateTime, did, score } from "./format.js";
import { areCategories, line, mark } from "./items.js";

const about = {
  neighbors: "goes together with what this shopper had lately",
  sequence: "tends to follow what this shopper had last",
  interests: "popular in categories that this shopper likes",
  cohort: "popular with people of the same age and gender",
  trending: "popular with everybody",
  new: "new in the catalogue",
  own: "what this shopper had before",
};

/** changes compares two lists of ids: what is new, what moved, by how many places. */
export function changes(old, now) {
  const places = new Map(old.map((id, place) => [id, place]));
  const map = new Map();
  now.forEach((id, place) => {
    if (!places.has(id)) map.set(id, { kind: "new", text: "new" });
    else if (places.get(id) > place) map.set(id, { kind: "up", text: `▲ ${places.get(id) - place}` });
    else if (places.get(id) < place) map.set(id, { kind: "down", text: `▼ ${place - places.get(id)}` });
  });
  return map;
}

/** focused remembers which button of a list has the focus, and gives a function that puts it back if its element went away. */
function focused(list) {
  const active = document.activeElement;
  const node = list.contains(active) ? active.closest("[data-item]") : null;
  if (!node) return () => {};
  const place = [...list.children].indexOf(node);
  const what = active.dataset.act ? `[data-act="${active.dataset.act}"]` : "[data-open]";
  return () => {
    if (list.contains(document.activeElement)) return;
    list.children[Math.min(place, list.children.length - 1)]?.querySelector(what)?.focus({ preventScroll: true });
  };
}

/** parts is the score of a recommendation as a bar, a piece for each source. */
function parts(recommendation, best) {
  const share = (value) => `${Math.max(0, (100 * value) / best).toFixed(2)}%`;
  const explained = Object.entries(recommendation.explain ?? { [recommendation.source]: recommendation.score }).sort((a, b) => b[1] - a[1]);
  return explained.filter(([, value]) => value > 0).map(([source, value]) =>
    el("span", { data: { source }, vars: { share: share(value) }, title: `${source} ${score(value)}` }));
}

function recommended(item) {
  return line(item,
    el("p", { className: "reason" }),
    el("div", { className: "why" }, el("span", { className: "chip source" }), el("span", { className: "score", title: "score, comparable within this list" })),
    el("div", { className: "parts", "aria-hidden": "true" }));
}

/** showList shows recommendations; changed is what changes gave, or nothing for a new list. */
export function showList(recommendations, changed) {
  const list = byId("list");
  const best = Math.max(...recommendations.map((r) => r.score), Number.MIN_VALUE);
  const refocus = focused(list);
  glide(list, () => keyed(list, recommendations, (r) => r.item_id, recommended, (node, r) => {
    const change = changed?.get(r.item_id);
    mark(node, change?.kind ?? "", change?.text);
    const chip = node.querySelector(".source");
    setText(node.querySelector(".reason"), r.reason);
    setText(chip, r.source);
    chip.dataset.source = r.source;
    chip.title = about[r.source] ?? "";
    setText(node.querySelector(".score"), score(r.score));
    node.querySelector(".parts").replaceChildren(...parts(r, best));
  }));
  refocus();
  showMix(recommendations);
}

/** showMix shows where a list comes from: how many of its items each source contributed most to. */
function showMix(recommendations) {
  const counts = new Map();
  for (const { source } of recommendations) counts.set(source, (counts.get(source) ?? 0) + 1);
  const mix = [...counts].sort((a, b) => b[1] - a[1]);
  const node = byId("mix");
  node.setAttribute("aria-label", mix.length ? `Where this list comes from: ${mix.map(([source, n]) => `${source} ${n}`).join(", ")}` : "");
  node.replaceChildren(
    el("div", { className: "parts" }, ...mix.map(([source, n]) => el("span", { data: { source }, vars: { share: `${(100 * n) / recommendations.length}%` } }))),
    el("p", {}, ...mix.map(([source, n]) => el("span", { className: "legend", data: { source }, title: about[source] ?? "" }, `${source} ${n}`))));
}

const recentKey = (r) => `${r.item_id} ${r.event_type ?? ""} ${r.time ?? ""}`;

/** showRecent shows what the shopper did, newest first; fresh are the keys that were there before. */
export function showRecent(items, asOf, old) {
  const list = byId("recent");
  const seen = new Map(); // the same thing may have happened twice in a millisecond
  const keyOf = (r) => {
    const n = (seen.get(recentKey(r)) ?? 0) + 1;
    seen.set(recentKey(r), n);
    return n === 1 ? recentKey(r) : `${recentKey(r)} ${n}`;
  };
  const refocus = focused(list);
  glide(list, () => keyed(list, items, keyOf, (r) => line(r, el("p", { className: "reason" })), (node, r) => {
    const isNew = old !== undefined && !old.has(node.dataset.key);
    mark(node, isNew ? "new" : "", "new");
    const reason = node.querySelector(".reason");
    const rating = r.event_type === "rating" && r.value !== undefined ? ` ${r.value}` : "";
    setText(reason, r.event_type ? `${did(r.event_type)}${rating} · ${before(r.time, asOf)}` : "looked at in this visit");
    if (r.time) reason.title = `${dateTime(r.time)} UTC`;
  }));
  refocus();
  return new Set([...list.children].map((node) => node.dataset.key));
}

/** interestsAreCategories offers a profile's interests as filters. */
export const interestsAreCategories = (profile) => areCategories(Object.keys(profile.interests));
