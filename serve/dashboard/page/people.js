// The shoppers that the picker offers: those that this browser has met, which
// are remembered here, and those that the server says were active just now.

import { byId, el, keyed } from "./dom.js";

const STORE = "millrace.people";
const MOST = 200; // remembered
const SHOWN = 6;

let people = load();
let active = []; // recently, as the server tells it

function load() {
  try {
    const list = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(list) ? list.filter((id) => typeof id === "string" && id) : [];
  } catch {
    return [];
  }
}

/** met remembers a shopper, the latest first. */
export function met(id) {
  people = [id, ...people.filter((other) => other !== id)].slice(0, MOST);
  try {
    localStorage.setItem(STORE, JSON.stringify(people));
  } catch {
    // Without room to store them, they are remembered until the page is closed.
  }
  offer();
}

/** areActive takes ids of users who have just been active. */
export function areActive(ids) {
  if (!ids?.length) return;
  active = ids;
  offer();
}

/** anyone is some shopper other than the present one, best a recently active one; undefined if none is known. */
export function anyone(except) {
  for (const list of [active, people]) {
    const others = list.filter((id) => id !== except);
    if (others.length) return others[Math.floor(Math.random() * others.length)];
  }
  return undefined;
}

/** offer shows them in the picker. */
export function offer() {
  const all = [...new Set([...people, ...active])];
  keyed(byId("people"), all.slice(0, 50), (id) => id, (id) => el("option", { value: id }));
  keyed(byId("recently"), people.slice(0, SHOWN), (id) => id, (id) => el("button", { type: "button", className: "chip", textContent: id, data: { person: id } }));
  byId("surprise").disabled = all.length === 0;
  byId("surprise").title = all.length === 0 ? "No shopper is known to this page yet. Type an id, or make a new shopper." : "Open a shopper who has been active";
}
