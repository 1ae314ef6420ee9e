// What is known of a shopper: tastes, habits, the visit that is going on.

import { byId, el, keyed, setText, setVars } from "./dom.js";
import { before, count, duration, plural, score } from "./format.js";

const BARS = 8;
const partsOfDay = ["night", "morning", "afternoon", "evening"];
const percent = (share) => `${Math.round(100 * share)} %`;

function block(id, title) {
  return el("section", { className: "block", id: `profile-${id}` }, el("h4", {}, title), el("div", { className: "content" }));
}

/** prepare makes the blocks of a profile, so that later only their contents change. */
function prepare() {
  const node = byId("profile");
  if (node.firstElementChild?.classList.contains("block")) return;
  node.replaceChildren(block("interests", "Interests"), block("session", "Visit"), block("habits", "Behaviour"), block("about", "About"));
}

const content = (id) => byId(`profile-${id}`).querySelector(".content");

function interestBar() {
  return el("li", {},
    el("span", { className: "name" }), el("span", { className: "did" }), el("span", { className: "value" }),
    el("span", { className: "track", "aria-hidden": "true" }, el("span", {})));
}

function showInterests(profile, old) {
  const place = content("interests");
  const all = Object.entries(profile.interests).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, BARS);
  if (all.length === 0) {
    place.replaceChildren(el("p", { className: "hint" }, "None yet. Each click on an item teaches some."));
    return;
  }
  if (!place.querySelector("ol")) place.replaceChildren(el("p", { className: "tops" }), el("ol", { className: "bars" }));
  const top = profile.top_interests.map((interest) => interest.category);
  setText(place.querySelector(".tops"), top.length ? `Top: ${top.slice(0, 3).join(", ")}` : "");
  const most = Math.max(...all.map(([, value]) => Math.abs(value)), Number.MIN_VALUE);
  keyed(place.querySelector("ol"), all, ([name]) => name, interestBar, (node, [name, value]) => {
    const [label, done, figure, track] = node.children;
    const was = old?.interests[name] ?? (old ? 0 : value);
    setText(label, name);
    setText(done, deeds(profile.features[name]));
    setText(figure, score(value));
    node.dataset.change = value > was ? "up" : value < was ? "down" : "";
    setVars(track.firstChild, { share: `${((100 * Math.abs(value)) / most).toFixed(2)}%` });
    track.dataset.sign = value < 0 ? "minus" : "plus";
  });
}

function deeds(feature) {
  if (!feature) return "";
  const bought = feature.purchases ? `, ${count(feature.purchases)} bought` : "";
  return `${plural(feature.views, "view")}${bought}`;
}

const facts = (...pairs) => el("dl", { className: "facts" },
  ...pairs.filter(Boolean).flatMap(([name, ...value]) => [el("dt", {}, name), el("dd", {}, ...value)]));

function showSession({ session, sessions }) {
  const past = sessions.closed ? `${plural(sessions.closed, "visit")} before, ${duration(sessions.average_length_s)} on average` : "no visit before";
  content("session").replaceChildren(session
    ? facts(["Going on for", session.length_s < 1 ? "no time yet" : duration(session.length_s)], ["So far", `${plural(session.events, "event")}, ${plural(session.items.length, "item")}`], ["Others", past])
    : el("p", { className: "hint" }, `No visit is going on; ${past}.`));
}

function dayChart(shares) {
  const most = Math.max(...Object.values(shares), Number.MIN_VALUE);
  const words = partsOfDay.map((part) => `${part} ${percent(shares[part] ?? 0)}`).join(", ");
  return el("div", { className: "day", role: "img", "aria-label": words }, ...partsOfDay.map((part) =>
    el("span", { title: `${part} ${percent(shares[part] ?? 0)}` },
      el("span", { className: "column-bar", vars: { share: `${(100 * (shares[part] ?? 0)) / most}%` } }), part)));
}

function showHabits(profile) {
  const habits = profile.behavior_patterns;
  const types = Object.entries(profile.counts).sort((a, b) => b[1] - a[1]);
  if (types.length === 0) {
    content("habits").replaceChildren(el("p", { className: "hint" }, "Nothing has been done yet."));
    return;
  }
  content("habits").replaceChildren(
    el("p", { className: "chips" }, ...types.map(([type, n]) => el("span", { className: "chip" }, `${type} ${count(n)}`))),
    habits.events > 0 ? dayChart(habits.share_by_part_of_day) : null,
    facts(
      habits.most_active && ["Most active", `in the ${habits.most_active}`.replace("in the night", "at night")],
      habits.events > 0 && ["Weekend", percent(habits.weekend_share)],
      habits.average_rating != null && ["Mean rating", habits.average_rating.toFixed(2)],
      habits.purchases_per_view != null && ["Bought per view", percent(habits.purchases_per_view)],
      ["Items met", count(profile.seen_items)],
    ));
}

/** showAbout shows who a user is, or asks. It leaves a form alone in which somebody may be typing. */
function showAbout(person) {
  const place = content("about");
  const key = JSON.stringify(person);
  if (place.dataset.person === key) return;
  place.dataset.person = key;
  const labels = person?.labels ?? [];
  if (person?.age || person?.gender || labels.length) {
    place.replaceChildren(facts(person.age && ["Age", String(person.age)], person.gender && ["Gender", person.gender], labels.length > 0 && ["Labels", labels.join(", ")]));
    return;
  }
  place.replaceChildren(el("p", { className: "hint" }, "Age and gender are not known. They make up for the lack of history."),
    el("form", { id: "about", className: "filters" },
      el("label", {}, "Age ", el("input", { name: "age", type: "number", min: "1", max: "120", required: true })),
      el("label", {}, "Gender ", el("select", { name: "gender" }, ...["", "f", "m"].map((value) => el("option", { value, textContent: value || "–" })))),
      el("button", { type: "submit" }, "Tell")));
}

/** showProfile shows a profile, and marks what has grown since the old one; person is what the catalogue knows, if anything. */
export function showProfile(profile, person, old) {
  prepare();
  showInterests(profile, old);
  showSession(profile);
  showHabits(profile);
  showAbout(person);
  setText(byId("profile-note"), profile.last_updated ? `last active ${before(profile.last_updated, profile.as_of)}, ${plural(profile.browse_count, "event")}` : "nothing is known yet");
}

/** showNoProfile says instead why there is none. */
export function showNoProfile(note, ...paragraphs) {
  setText(byId("profile-note"), note);
  byId("profile").replaceChildren(...paragraphs.map((text) => el("p", { className: "hint" }, text)));
}
