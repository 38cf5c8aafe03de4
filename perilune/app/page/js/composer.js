// Where a message is written: it grows with the text, sends on Enter, and turns its arrow into a stop sign while a reply comes.
import { clear, freshId, h } from "./dom.js";
import { icon, iconButton } from "./icons.js";
import { t } from "./i18n.js";
import { change, onChange, setting } from "./settings.js";

export class Composer {
  /** `send({text, files})` gives false when nothing was sent, and the text stays; `stop()` ends the running reply; `thinks()` says whether the next one thinks. */
  constructor({ send, stop, thinks, tools = [], shelf = null }) {
    this.send = send;
    this.stop = stop;
    this.thinks = thinks;
    this.shelf = shelf;
    this.writing = false;
    const hint = freshId("hint");
    this.input = h("textarea", {
      rows: 1,
      placeholder: t("compose.placeholder"),
      "aria-label": t("compose.label"),
      "aria-describedby": hint,
      enterkeyhint: "send",
      on: { input: () => this.#typed(), keydown: (event) => this.#key(event) },
    });
    this.button = h("button", {
      type: "button",
      class: "send",
      on: { click: () => (this.writing ? this.stop() : this.submit()) },
    });
    this.think = h(
      "button",
      { type: "button", class: "chip", on: { click: () => change("thinking", !this.thinks()) } },
      icon("think"),
      h("span", {}, t("think")),
    );
    this.hint = h("p", { class: "hint", id: hint }, t("compose.hint"));
    const bar = h("div", { class: "compose-bar" }, tools, this.think, h("span", { class: "gap" }), this.button);
    this.card = h("div", { class: "compose-card" }, shelf?.el, this.input, bar);
    this.el = h("div", { class: "composer" }, this.card, this.hint);
    this.forget = onChange((name) => name === "thinking" && this.#draw());
    this.#draw();
  }

  get text() {
    return this.input.value;
  }

  set text(value) {
    this.input.value = value;
    this.#typed();
  }

  focus() {
    this.input.focus();
  }

  /** Where there are real keys the next word can be typed at once; on a phone the screen's keys would cover the page. */
  ready() {
    if (!matchMedia("(pointer: coarse)").matches) this.focus();
  }

  setWriting(writing) {
    this.writing = writing;
    this.#draw();
  }

  async submit() {
    const text = this.input.value.trim();
    if (this.writing || this.busy || (!text && !this.shelf?.files.length) || this.shelf?.busy) return;
    this.busy = true;
    try {
      if ((await this.send({ text, files: this.shelf?.files ?? [] })) === false) return;
      this.text = "";
      this.shelf?.clear();
    } finally {
      this.busy = false;
      this.#draw();
    }
  }

  /** Called when what can be sent has changed. */
  redraw() {
    this.#draw();
  }

  #typed() {
    // Browsers without field-sizing get the height from here.
    if (!CSS.supports("field-sizing", "content")) {
      this.input.style.height = "auto";
      this.input.style.height = `${this.input.scrollHeight}px`;
    }
    this.#draw();
  }

  #key(event) {
    if (event.key !== "Enter" || event.isComposing || event.shiftKey) return;
    const mod = event.ctrlKey || event.metaKey;
    // On a phone, Enter makes a new line: there is a button beside it.
    const sends = mod || (setting("send") === "enter" && !matchMedia("(pointer: coarse)").matches);
    if (!sends) return;
    event.preventDefault();
    this.submit();
  }

  #draw() {
    const label = this.writing ? t("stop") : t("send");
    clear(this.button, icon(this.writing ? "stop" : "send"));
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
    const nothing = !this.input.value.trim() && !this.shelf?.files.length;
    this.button.disabled = !this.writing && (nothing || Boolean(this.shelf?.busy));
    this.think.setAttribute("aria-pressed", String(this.thinks()));
  }
}

export function attachButton(choose) {
  return iconButton("clip", t("files.add"), choose);
}
