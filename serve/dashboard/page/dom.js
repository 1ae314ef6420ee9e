// The few things that this page needs to build and update elements. Text is
// only ever put in as text: nothing that a server sends can become markup.

/** byId is the element of the page with an id. */
export const byId = (id) => document.getElementById(id);

/**
 * el makes an element. Properties whose names hold a dash, and role, become
 * attributes, `on` is an object of listeners, `data` and `vars` are objects of
 * data attributes and CSS variables, everything else is set as a property.
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    } else if (name === "data") {
      Object.assign(node.dataset, value);
    } else if (name === "vars") {
      setVars(node, value);
    } else if (name === "role" || name.includes("-")) {
      node.setAttribute(name, value);
    } else {
      node[name] = value;
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** setVars sets CSS variables, by their names without the dashes. */
export function setVars(node, values) {
  for (const [name, value] of Object.entries(values)) node.style.setProperty(`--${name}`, value);
}

/** setText changes a text only if it is another one, so that a selection of it and a live region are left in peace. */
export function setText(node, text) {
  const value = String(text);
  if (node.textContent !== value) node.textContent = value;
}

/**
 * keyed makes the children of a list show items, in their order: elements are
 * made once a key, moved and updated after that, and removed with their key.
 * Focus and scroll position survive, as no element is made again.
 */
export function keyed(list, items, keyOf, make, update) {
  const old = new Map();
  for (const child of list.children) old.set(child.dataset.key, child);
  let at = list.firstElementChild;
  items.forEach((item, index) => {
    const key = String(keyOf(item, index));
    let node = old.get(key);
    old.delete(key);
    if (!node) {
      node = make(item, index);
      node.dataset.key = key;
    }
    update?.(node, item, index);
    if (node === at) {
      at = at.nextElementSibling;
    } else {
      list.insertBefore(node, at);
    }
  });
  for (const node of old.values()) node.remove();
}

/** say announces a text to a screen reader, and shows it where the region is visible. */
export function say(region, ...parts) {
  region.replaceChildren(...parts);
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * glide runs a change of a list and then lets the elements that were in it
 * before slide from their old places to their new ones.
 */
export function glide(list, change) {
  const before = new Map();
  for (const child of list.children) before.set(child, child.getBoundingClientRect().top);
  const scrolled = list.scrollTop;
  change();
  if (still.matches) return;
  for (const [child, top] of before) {
    if (!child.isConnected) continue;
    const moved = top + scrolled - child.getBoundingClientRect().top - list.scrollTop;
    if (Math.abs(moved) < 1) continue;
    child.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 260, easing: "ease-out" });
  }
}
