// What to do when nothing has arrived yet, and from a shell at any time.

import { hasKey } from "./api.js";
import { byId, el } from "./dom.js";

function lines() {
  const at = location.origin;
  const key = hasKey() ? " -H \"X-API-Key: $MILLRACE_KEY\"" : "";
  return [
    ["Send an event", `curl -X POST '${at}/v1/events?wait=applied'${key} -d '{"user_id":"me","item_id":"i1","event_type":"click","timestamp":'$(date +%s)'}'`],
    ["Ask for recommendations", `curl '${at}/v1/users/me/recommendations?n=5'${key}`],
    ["See what is trending", `curl '${at}/v1/trending?n=5'${key}`],
  ];
}

function copy(text) {
  const button = el("button", { type: "button", className: "quiet", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

/** show fills in the lines with the address of this server. */
export function show() {
  for (const list of document.querySelectorAll("[data-shell]")) {
    list.replaceChildren(...lines().map(([what, text]) => el("li", {},
      el("div", { className: "head" }, el("span", {}, what), navigator.clipboard ? copy(text) : null),
      el("pre", { tabIndex: 0 }, el("code", {}, text)))));
  }
  byId("generate").textContent = `millrace generate --events 20000 --to ${location.origin}`;
}

/** onStats hides the card with the first steps once there are events. */
export function onStats(stats) {
  byId("start").hidden = stats.events.total > 0;
}
