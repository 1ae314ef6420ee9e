// Requests to the server that the page came from.

const KEY = "millrace.key";

/** Problem is an answer that is an error, or none at all (status 0), with what went wrong in words. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Credentials that the browser itself keeps (HTTP Basic) are only used once a
// request without them was refused, so that the browser's own window does not
// get in the way of a server that gets its first key while the page is open.
let credentials = "omit";
let whenRefused = () => {};

/** onRefused sets what is called when the server wants a key, or another one, with whether one was sent. */
export function onRefused(fn) {
  whenRefused = fn;
}

/** hasKey tells whether a key was entered in this tab. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/** setKey keeps a key until the tab is closed. */
export const setKey = (key) => sessionStorage.setItem(KEY, key);

/** forgetKey drops it. */
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** begin finds out how this browser reaches the server: openly, or with what it was asked for when it loaded the page. */
export async function begin() {
  if (hasKey()) return;
  const answer = await send("/v1/stats", {}).catch(() => null);
  if (answer?.status === 401) credentials = "same-origin";
  await answer?.body?.cancel();
}

function send(path, options) {
  const headers = new Headers(options.headers);
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.set("X-API-Key", key);
  // The page's own address may hold a name and a password, with which fetch
  // refuses to resolve a path.
  const url = new URL(path, location.origin);
  return fetch(url, { cache: "no-store", redirect: "error", ...options, headers, credentials });
}

async function answered(path, options) {
  const key = sessionStorage.getItem(KEY);
  let answer;
  try {
    answer = await send(path, options);
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Problem(0, "The server does not answer. It may be starting, or stopped.");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const problem = new Problem(answer.status, body.detail || body.reason || body.title || `The server answered with status ${answer.status}.`);
  // Another key may have been entered since: this answer says nothing of it.
  if (answer.status === 401 && key === sessionStorage.getItem(KEY)) whenRefused(key !== null);
  throw problem;
}

/** get reads JSON. Parameters that are empty are left out. Errors are Problems. */
export async function get(path, parameters = {}, signal) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined));
  return (await answered(query.size ? `${path}?${query}` : path, { signal })).json();
}

/** send a JSON body, and read the JSON answer. Errors are Problems. */
async function withBody(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await answered(path, { method, headers, body: JSON.stringify(body) })).json();
}

export const post = (path, body) => withBody("POST", path, body);
export const put = (path, body) => withBody("PUT", path, body);

/** user and item are paths; ids may hold anything. */
export const userPath = (id, rest = "") => `/v1/users/${encodeURIComponent(id)}${rest}`;
export const itemPath = (id, rest = "") => `/v1/items/${encodeURIComponent(id)}${rest}`;

/**
 * stream reads server-sent events and calls onData with each one's JSON. It
 * returns when the stream ends and throws a Problem when it breaks. An
 * EventSource would do the same, but can not send a key.
 */
export async function stream(path, onData) {
  const answer = await answered(path, { headers: { Accept: "text/event-stream" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) onData(JSON.parse(data));
    }
  }
}
