// What the page says aloud: a polite live region for screen readers, and short notices that everybody sees.
import { h } from "./dom.js";
import { iconButton } from "./icons.js";
import { t } from "./i18n.js";

const SHOWN_MS = 6000;
const polite = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
const shelf = h("div", { class: "notices", role: "alert" });

export function mountNotices(page) {
  page.append(polite, shelf);
}

/** Said by screen readers when they have finished what they say. */
export function announce(text) {
  // The same text twice is no change, and would not be said.
  polite.textContent = polite.textContent === text ? `${text}\u00a0` : text;
}

/** A short notice; one with an action stays until it is closed. */
export function notice(text, { action = null, run = null, danger = false } = {}) {
  const close = () => box.remove();
  const act = action && h("button", { type: "button", class: "button", on: { click: () => (close(), run()) } }, action);
  const box = h(
    "div",
    { class: danger ? "notice danger" : "notice" },
    h("span", {}, text),
    act,
    iconButton("close", t("close"), close, { class: "small" }),
  );
  shelf.append(box);
  if (!action) setTimeout(close, danger ? 2 * SHOWN_MS : SHOWN_MS);
  return close;
}

/** The sentences of a reply, said one by one as they are finished, not letter by letter. */
export class Speaker {
  #said = 0;

  tell(text, done = false) {
    const end = done ? text.length : lastSentenceEnd(text);
    if (end <= this.#said) return;
    announce(text.slice(this.#said, end).replace(/\s+/g, " ").trim());
    this.#said = end;
  }
}

function lastSentenceEnd(text) {
  let end = 0;
  for (const match of text.matchAll(/[.!?…](?=\s)|[。！？]|\n/g)) end = match.index + 1;
  return end;
}
