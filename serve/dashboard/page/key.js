// Asking for the API key when the server wants one.

import { forgetKey, onRefused, setKey } from "./api.js";
import { byId, setText } from "./dom.js";

const dialog = byId("key-dialog");
const form = byId("key-form");
const input = byId("key");

// Several requests are refused at once, and more while somebody types: only
// the first opens the dialog, and what it says stays.
function ask(sent) {
  forgetKey();
  if (dialog.open) return;
  setText(byId("key-error"), sent ? "The server does not know this key. Check it and try again." : "");
  dialog.showModal();
  input.select();
}

/** watch asks whenever a request was refused for want of a key, and calls entered when there is one. */
export function watch(entered) {
  onRefused(ask);
  byId("key-open").addEventListener("click", () => ask(false));
  byId("key-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (submission) => {
    submission.preventDefault();
    const key = input.value.trim();
    // What a header can not carry is no key.
    if (!/^[\x21-\x7e]+$/.test(key)) {
      setText(byId("key-error"), "A key has letters, digits and signs, and no spaces.");
      return;
    }
    setKey(key);
    input.value = "";
    dialog.close();
    entered();
  });
}
