// The model of the workbench: who is shopping, what they do, and what the
// server answers to it. It shows nothing itself.

import { get, post, put, userPath } from "./api.js";

const LENGTH = 12; // of a list
const APART_MS = 5 * 60 * 1000; // stream time and wall clock: what the server allows ahead

/** a user id that nobody has had. */
export function freshId() {
  const letters = crypto.getRandomValues(new Uint8Array(6));
  return `shopper-${Array.from(letters, (n) => "23456789abcdefghjkmnpqrstuvwxyz"[n % 31]).join("")}`;
}

/**
 * eventTime is the time of an event that happens now. Where stream time is far
 * from the wall clock, as with recorded events, it is just after stream time,
 * so that the event is the newest of all without making everything else old.
 */
export function eventTime(asOf, now = Date.now()) {
  const stream = asOf ? Date.parse(asOf) : NaN;
  if (!Number.isFinite(stream)) return now;
  if (Math.abs(now - stream) > APART_MS) return stream + 1;
  return Math.max(now, stream + 1);
}

const emptyProfile = {
  interests: {}, top_interests: [], features: {}, recent_items: [], browse_count: 0, counts: {}, seen_items: 0,
  behavior_patterns: { events: 0, events_by_type: {}, share_by_part_of_day: {} }, session: null, sessions: { closed: 0 }, last_updated: null, as_of: null,
};

/** nothing, where the server does not know a user. */
async function unlessUnknown(answer, nothing) {
  try {
    return await answer;
  } catch (problem) {
    if (problem.status === 404) return nothing;
    throw problem;
  }
}

export class Shopper {
  kind = "none"; // or "user", or "visit"
  user = "";
  visit = []; // items of an anonymous visit, newest last
  filter = { category: "", seen: false };
  asOf = null;
  person = null;

  /** be a user. */
  be(user) {
    this.kind = "user";
    this.user = user;
    this.person = undefined; // not read yet
  }

  /** be nobody that is known: a visit. */
  beVisitor() {
    this.kind = "visit";
  }

  /** create makes a user of whom nothing is known, and becomes that one. */
  async create() {
    const id = freshId();
    await put(userPath(id), {});
    this.be(id);
  }

  /** read gives {list, profile, person}; a visit has no profile. */
  async read() {
    const { category, seen } = this.filter;
    if (this.kind === "visit") {
      const body = { items: this.visit.map((item) => item.item_id), n: LENGTH, explain: true };
      if (category) body.category = category;
      if (seen) body.exclude = "none";
      const list = await post("/v1/sessions/recommendations", body);
      this.asOf = list.as_of;
      return { list };
    }
    const user = this.user;
    const [list, profile, person] = await Promise.all([
      get(userPath(user, "/recommendations"), { n: LENGTH, category, exclude: seen ? "none" : "seen", explain: true }),
      unlessUnknown(get(userPath(user, "/profile")), emptyProfile),
      this.person === undefined ? unlessUnknown(get(userPath(user)), null) : this.person,
    ]);
    if (user === this.user) {
      this.asOf = list.as_of;
      this.person = person;
    }
    return { list, profile, person };
  }

  /** describe tells the server who the user is. */
  async describe(age, gender) {
    const body = { age };
    if (gender) body.gender = gender;
    this.person = await put(userPath(this.user), body);
  }

  /** act tells the server what was done, and returns when that is visible. */
  async act(item, type, requestId) {
    if (this.kind === "visit") {
      this.visit = [...this.visit.filter((other) => other.item_id !== item.item_id), item].slice(-50);
      return;
    }
    const happened = eventTime(this.asOf);
    const event = { user_id: this.user, item_id: item.item_id, event_type: type, timestamp: new Date(happened).toISOString() };
    if (requestId) event.request_id = requestId;
    await post("/v1/events?wait=applied", event);
    this.asOf = new Date(happened).toISOString();
  }
}
