// Numbers, sizes, times and lengths of time in words, all in the browser's
// language for numbers and in English for words.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** count is a number of things, in full. */
export const count = (n) => whole.format(n);

/** compact is a number of things, as 1.2M. */
export const compact = (n) => (n < 10_000 ? whole.format(n) : short.format(n));

/** plural is a number and its noun. */
export const plural = (n, noun, nouns = `${noun}s`) => `${count(n)} ${n === 1 ? noun : nouns}`;

/** score is a number of no particular unit, to about three digits. */
export function score(x) {
  if (!Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  if (size >= 1000) return compact(x);
  if (size >= 100) return x.toFixed(0);
  if (size >= 10) return x.toFixed(1);
  if (size >= 0.01 || size === 0) return x.toFixed(2);
  return String(Number(x.toPrecision(2)));
}

/** milliseconds, as 0.42 ms, 8.1 ms, 120 ms or 1.3 s. */
export function milliseconds(ms) {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 10) return `${ms.toFixed(1)} ms`;
  return `${ms.toFixed(2)} ms`;
}

/** bytes, as 1.5 MiB. */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)} ${units[unit]}`;
}

const steps = [
  [365.25 * 86400, "year"],
  [30.44 * 86400, "month"],
  [86400, "day"],
  [3600, "h"],
  [60, "min"],
];

/** duration is seconds in words: 12 s, 3 min, 2.5 h, 4 days, 22 years. */
export function duration(seconds) {
  const size = Math.abs(seconds);
  for (const [length, name] of steps) {
    if (size < length) continue;
    const n = size / length;
    const text = n < 10 && name !== "min" ? String(Number(n.toFixed(1))) : n.toFixed(0);
    return name.length > 3 ? `${text} ${name}${text === "1" ? "" : "s"}` : `${text} ${name}`;
  }
  return size < 10 && size > 0 ? `${size.toFixed(1)} s` : `${size.toFixed(0)} s`;
}

/** dateTime is an RFC 3339 time as 2026-01-05 09:12:44, in UTC as all event times are told. */
export const dateTime = (text) => (text ? text.slice(0, 19).replace("T", " ") : "–");

/** clock is the time of day of an RFC 3339 time, in the browser's zone. */
export const clock = (text) => new Date(text).toLocaleTimeString(undefined, { hour12: false });

/** before is how long a time was before another: "just now", "3 min before". Both are RFC 3339. */
export function before(text, now) {
  const seconds = (Date.parse(now) - Date.parse(text)) / 1000;
  if (!Number.isFinite(seconds)) return "";
  return seconds < 1 ? "just now" : `${duration(seconds)} ago`;
}

/** titled is an item's title, or its id where it has none. */
export const titled = (item) => item.title || item.item_id;

const words = { purchase: "bought", cart: "in cart", like: "liked", dislike: "disliked", view: "viewed", click: "clicked", rating: "rated", impression: "was shown" };

/** did is an event type as something that was done. */
export const did = (type) => words[type] ?? type;
