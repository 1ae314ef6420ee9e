// The workbench: picks a shopper, shows the three columns, and on each click
// sends the event, reads the new answers and says what changed and how fast.

import { byId, say, setText } from "./dom.js";
import { count, milliseconds, titled } from "./format.js";
import { changes, interestsAreCategories, showList, showRecent } from "./list.js";
import { anyone, met } from "./people.js";
import { showNoProfile, showProfile } from "./profile.js";
import { Shopper } from "./shopper.js";

const FOLLOW_MS = 2000;
const HASH = "#shopper=";

const shopper = new Shopper();
let shown = null; // what the columns show: {ids, recent, profile, requestId}
let welcomed = false;
let queue = Promise.resolve(); // what is to be done, one after the other

const past = { view: "Viewed", like: "Liked", cart: "Put in the cart:", purchase: "Bought" };

function tell(kind, ...words) {
  byId("result").dataset.kind = kind;
  say(byId("told"), ...words);
  setText(byId("item-told"), kind === "idle" ? "" : words.join("")); // the drawer may be in front
}

/** inTurn runs work after what is under way, and tells what goes wrong. */
function inTurn(work) {
  queue = queue.then(work).catch((problem) => {
    if (problem.status === undefined) throw problem; // a mistake of this page
    tell("error", problem.status === 401 ? "The server wants an API key." : problem.message);
  });
  return queue;
}

/** refresh reads and shows everything; compared says whether to mark what changed. It returns what changed in the list. */
async function refresh(compared) {
  const { list, profile, person } = await shopper.read();
  const ids = list.recommendations.map((r) => r.item_id);
  const old = compared ? shown : null;
  const changed = old ? changes(old.ids, ids) : null;
  showList(list.recommendations, changed);
  let recent;
  if (profile) {
    interestsAreCategories(profile);
    recent = showRecent(profile.recent_items, profile.as_of, old?.recent);
    showProfile(profile, person, old?.profile);
    setText(byId("recent-note"), profile.recent_items.length ? "newest first" : "");
  } else {
    recent = showRecent([...shopper.visit].reverse(), list.as_of, old?.recent);
    showNoProfile("none, on purpose", "Nothing is stored about an anonymous visit: no user, no profile, no events.",
      "The list is computed from the items on the left alone, which the page sends along with the request.");
    setText(byId("recent-note"), shopper.visit.length ? "known to this page only" : "");
  }
  hints(list.recommendations.length, recent.size);
  shown = { ids, recent, profile, requestId: list.request_id };
  return changed;
}

function hints(recommendations, recent) {
  const { category } = shopper.filter;
  setText(byId("recent-hint"), recent ? "" : "Nothing yet. View, like or buy something on the right.");
  setText(byId("list-hint"), recommendations ? "" : category
    ? `There is nothing to recommend in “${category}”.`
    : "There is nothing to recommend: the catalogue has no items, or all of them were seen.");
}

/** welcome shows somebody to a reader who has chosen nobody: a shopper who was just active, or else a visit. */
export function welcome() {
  if (shopper.kind !== "none" || welcomed) return;
  welcomed = true;
  const user = anyone("");
  if (user) open(user);
  else openVisit();
}

function summary(changed) {
  const kinds = [...changed.values()].map((change) => change.kind);
  const fresh = kinds.filter((kind) => kind === "new").length;
  const up = kinds.filter((kind) => kind === "up").length;
  if (fresh + up === 0) return kinds.length ? "some items moved down" : "the list stays as it was";
  return [fresh && `${count(fresh)} new`, up && `${count(up)} moved up`].filter(Boolean).join(", ");
}

/** act does something with an item and shows what came of it. began is the time of the click. */
export function act(item, type, node, began) {
  inTurn(async () => {
    if (shopper.kind === "none") await become(() => shopper.create());
    await shopper.act(item, type, node.closest("#list") ? shown?.requestId : undefined);
    const applied = performance.now();
    const changed = await refresh(true);
    const done = performance.now();
    setText(byId("stopwatch"), milliseconds(done - began));
    const what = shopper.kind === "visit" ? "Looked at" : past[type];
    tell("done", `${what} ${titled(item)}: `, summary(changed),
      shopper.kind === "visit" ? "." : ` (visible after ${milliseconds(applied - began)}, read and shown in ${milliseconds(done - applied)}).`);
  });
}

/** become another shopper: by change, then show them. */
async function become(change) {
  await change();
  shown = null;
  byId("workbench").dataset.kind = shopper.kind;
  document.querySelector(`input[name=mode][value=${shopper.kind}]`).checked = true;
  if (shopper.kind === "user") {
    byId("user").value = shopper.user;
    history.replaceState(null, "", HASH + encodeURIComponent(shopper.user));
    met(shopper.user);
  } else {
    history.replaceState(null, "", location.pathname);
  }
  setText(byId("stopwatch"), "–");
  for (const id of ["recent", "list"]) byId(id).scrollTop = 0;
  await refresh(false);
}

/** open shows a user. */
export function open(user) {
  return inTurn(async () => {
    await become(() => shopper.be(user));
    const { profile } = shown;
    tell("idle", profile.last_updated
      ? `Opened ${user}. Click View, Like, Cart or Buy on any item and watch all three columns.`
      : `Nobody has seen ${user} yet: the list is what is popular. Click on something.`);
  });
}

function openFresh() {
  return inTurn(async () => {
    await become(() => shopper.create());
    tell("idle", `${shopper.user} has just walked in, and nothing is known. Click on a few items of one kind, and watch the trending list turn into a personal one.`);
  });
}

function openVisit() {
  return inTurn(async () => {
    await become(() => shopper.beVisitor());
    tell("idle", "An anonymous visit: click View on items, and the list follows from those alone.");
  });
}

function describe(submission) {
  submission.preventDefault();
  const { age, gender } = submission.target.elements;
  const began = performance.now();
  inTurn(async () => {
    await shopper.describe(Number(age.value), gender.value);
    const changed = await refresh(true);
    setText(byId("stopwatch"), milliseconds(performance.now() - began));
    tell("done", "Age and gender are known now, and with them what is popular with such people: ", summary(changed), ".");
  });
}

function submitPicker(submission) {
  submission.preventDefault();
  const user = byId("user").value.trim();
  if (user) {
    open(user);
    return;
  }
  tell("error", "Type the id of a shopper first.");
  byId("user").focus();
}

function surprise() {
  const user = anyone(shopper.user);
  if (user) open(user);
}

function listen() {
  byId("picker").addEventListener("submit", submitPicker);
  byId("surprise").addEventListener("click", surprise);
  byId("fresh").addEventListener("click", openFresh);
  byId("recently").addEventListener("click", ({ target }) => {
    if (target.dataset.person) open(target.dataset.person);
  });
  for (const input of document.querySelectorAll("input[name=mode]")) {
    input.addEventListener("change", () => {
      if (input.value === "visit") openVisit();
      else if (shopper.user) open(shopper.user);
      else openFresh();
    });
  }
  byId("profile").addEventListener("submit", describe);
  byId("list-category").addEventListener("change", ({ target }) => filtered({ category: target.value.trim() }));
  byId("list-seen").addEventListener("change", ({ target }) => filtered({ seen: target.checked }));
}

function filtered(change) {
  Object.assign(shopper.filter, change);
  const { category, seen } = shopper.filter;
  inTurn(async () => {
    await refresh(true);
    tell("idle", `Recommended from ${category ? `“${category}”` : "all categories"}, ${seen ? "also what was seen before" : "without what was seen before"}.`);
  });
}

/** reload reads everything again, as after a key was entered. */
export function reload() {
  if (shopper.kind !== "none") {
    inTurn(async () => {
      await refresh(false);
      tell("idle", "Here we are again.");
    });
  } else if (location.hash.startsWith(HASH)) {
    welcomed = true;
    open(decodeURIComponent(location.hash.slice(HASH.length)));
  } else {
    tell("idle", "Pick a shopper, make a new one, or just click on an item that is trending.");
    setText(byId("recent-hint"), "Nobody is shopping yet. Pick a shopper above.");
    setText(byId("list-hint"), "What is recommended to the shopper will be here, with the reason and the source of each item.");
    showNoProfile("", "What is known of the shopper will be here: interests, visits, behaviour.");
  }
}

/** run makes the workbench work. */
export function run() {
  listen();
  reload();
  let waiting = false;
  setInterval(() => {
    if (waiting || document.hidden || !byId("follow").checked || shopper.kind === "none") return;
    waiting = true;
    inTurn(() => refresh(true)).finally(() => { waiting = false; });
  }, FOLLOW_MS);
}

