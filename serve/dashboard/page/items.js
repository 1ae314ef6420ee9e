// Items as they are shown everywhere: a title that opens the drawer, buttons
// that say what the shopper did, and what is known of an item.

import { get, itemPath } from "./api.js";
import { byId, el, keyed } from "./dom.js";
import { titled } from "./format.js";

/** actions are what a shopper can do with an item: the event type, and the button. */
export const actions = [
  ["view", "View"],
  ["like", "Like"],
  ["cart", "Cart"],
  ["purchase", "Buy"],
];

const known = new Map(); // item id to a promise of the item
const categories = new Set();

/** details reads what the catalogue knows of an item, once. Errors are Problems. */
export function details(id) {
  if (!known.has(id)) {
    const reading = get(itemPath(id));
    known.set(id, reading);
    reading.then((item) => areCategories(item.categories), () => known.delete(id));
  }
  return known.get(id);
}

/** areCategories adds to the categories that the page offers to filter by. */
export function areCategories(names) {
  const before = categories.size;
  for (const name of names) categories.add(name);
  if (categories.size === before) return;
  keyed(byId("categories"), [...categories].sort(), (name) => name, (name) => el("option", { value: name }));
}

/** buttons are the actions for an item. What is clicked is found by its data, see onAction. */
export function buttons(item) {
  return el("div", { className: "acts", role: "group", "aria-label": `What the shopper does with ${titled(item)}` },
    ...actions.map(([type, text]) => el("button", { type: "button", className: "act", textContent: text, data: { act: type } })));
}

/** line is a list element for an item: its title, whatever else is given, and its buttons. */
export function line(item, ...more) {
  const title = el("button", { type: "button", className: "title", data: { open: "" }, textContent: titled(item), title: `${titled(item)} (${item.item_id})` });
  return el("li", { className: "item", data: { item: item.item_id, title: titled(item) } },
    el("div", { className: "top" }, title, el("span", { className: "badge", hidden: true })), ...more, buttons(item));
}

/** mark says beside the title what has become of an item: "new", "up", "down", or nothing. */
export function mark(node, kind, text = "") {
  const badge = node.querySelector(".badge");
  badge.hidden = !kind;
  badge.dataset.kind = kind;
  badge.textContent = text;
  node.dataset.change = kind;
}

/** onAction calls act with (item, type, list element, time of the click) and open with an item's id when buttons are used. */
export function onAction(act, open) {
  document.addEventListener("click", (click) => {
    const button = click.target.closest?.("[data-act], [data-open]");
    const node = button?.closest("[data-item]");
    if (!node) return;
    const item = { item_id: node.dataset.item, title: node.dataset.title };
    if (button.dataset.act) act(item, button.dataset.act, node, performance.now());
    else open(item.item_id);
  });
}
