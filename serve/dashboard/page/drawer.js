// The drawer: one item, and its neighbors.

import { get, itemPath } from "./api.js";
import { byId, el, keyed, setText, setVars } from "./dom.js";
import { dateTime, score, titled } from "./format.js";
import { buttons, details, line } from "./items.js";

const NEIGHBORS = 20;
const dialog = byId("item");
let path = []; // ids of the items that led here, the one that is open last

function facts(item) {
  const list = el("dl", { className: "facts" });
  const add = (name, ...value) => list.append(el("dt", {}, name), el("dd", {}, ...value));
  const chips = (names) => el("span", { className: "chips" }, ...names.map((name) => el("span", { className: "chip" }, name)));
  add("Id", item.item_id);
  if (item.categories?.length) add("Categories", chips(item.categories));
  if (item.tags?.length) add("Tags", chips(item.tags));
  if (item.created) add("Created", `${dateTime(item.created)} UTC`);
  if (item.hidden) add("Hidden", "yes: it is never recommended");
  for (const [name, value] of Object.entries(item.metadata ?? {})) add(name, typeof value === "string" ? value : JSON.stringify(value));
  return list;
}

/** absent gives nothing where the server does not know an item, and throws other problems. */
function absent(nothing) {
  return (problem) => {
    if (problem.status === 404) return nothing;
    throw problem;
  };
}

function neighbor(item) {
  return line(item, el("span", { className: "score" }), el("span", { className: "track", "aria-hidden": "true" }, el("span", {})));
}

function showNeighbors(neighbors) {
  const best = Math.max(...neighbors.map((n) => n.score), Number.MIN_VALUE);
  keyed(byId("neighbors"), neighbors, (n) => n.item_id, neighbor, (node, n) => {
    setText(node.querySelector(".score"), score(n.score));
    setVars(node.querySelector(".track > span"), { share: `${((100 * n.score) / best).toFixed(2)}%` });
  });
  setText(byId("neighbors-hint"), neighbors.length ? "" : "None yet: nobody had it together with something else.");
}

async function show() {
  const id = path.at(-1);
  byId("item-back").hidden = path.length < 2;
  setText(byId("item-title"), "Loading…");
  byId("item-body").replaceChildren();
  byId("neighbors").replaceChildren();
  setText(byId("item-told"), "");
  setText(byId("neighbors-hint"), "");
  try {
    const [item, { neighbors }] = await Promise.all([
      details(id).catch(absent({ item_id: id, title: "" })),
      get(itemPath(id, "/neighbors"), { n: NEIGHBORS }).catch(absent({ neighbors: [] })),
    ]);
    if (path.at(-1) !== id) return; // another one was opened meanwhile
    setText(byId("item-title"), titled(item));
    byId("item-body").replaceChildren(facts(item), el("div", { data: { item: id, title: titled(item) } }, buttons(item)));
    showNeighbors(neighbors);
  } catch (problem) {
    if (path.at(-1) !== id) return;
    setText(byId("item-title"), "This item can not be shown");
    setText(byId("neighbors-hint"), problem.message);
  }
}

/** open shows an item; from within the drawer, one can go back. */
export function open(id) {
  path = dialog.open ? [...path.filter((other) => other !== id), id] : [id];
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  show();
  byId("item-title").focus();
}

/** run makes the drawer's own buttons work. */
export function run() {
  byId("item-close").addEventListener("click", () => dialog.close());
  byId("item-back").addEventListener("click", () => {
    path.pop();
    show();
    byId("item-title").focus();
  });
  dialog.addEventListener("click", (click) => {
    if (click.target === dialog) dialog.close(); // beside the drawer
  });
}
