// What a model thinks before it answers: folded, with the time it took, and a way to have the answer now.
import { clear, h } from "./dom.js";
import { icon } from "./icons.js";
import { seconds, t } from "./i18n.js";

export class ReasoningView {
  constructor(answerNow) {
    this.label = h("b", {});
    this.text = h("div", { dir: "auto" });
    this.details = h("details", { class: "reasoning" }, h("summary", {}, icon("right"), this.label), this.text);
    this.now = h(
      "button",
      { type: "button", class: "button", on: { click: () => ((this.now.disabled = true), answerNow()) } },
      t("answer.now"),
    );
    this.el = h("div", { class: "reasoning-line", hidden: true }, this.details, this.now);
  }

  set(text, { running, seconds: took, alone = false }) {
    this.el.hidden = !text;
    this.now.hidden = !running;
    if (!text) return;
    // Where nothing was said but this, it is what the reader came for.
    if (alone) this.details.open = true;
    // A text node that grows keeps the reader's selection.
    if (this.text.firstChild && text.startsWith(this.text.textContent))
      this.text.firstChild.appendData(text.slice(this.text.textContent.length));
    else clear(this.text, text);
    if (running) {
      this.began ??= Date.now();
      this.timer ??= setInterval(() => this.#tick(), 1000);
      this.#tick();
    } else {
      clearInterval(this.timer);
      this.timer = null;
      took ??= this.began ? (this.ended ??= Date.now() - this.began) / 1000 : null;
      this.label.textContent = took ? t("reasoned.for", { time: seconds(took) }) : t("reasoned");
    }
  }

  #tick() {
    if (!this.el.isConnected && this.timer) {
      clearInterval(this.timer);
      this.timer = null;
      return;
    }
    this.label.textContent = t("reasoning.for", { time: seconds(Math.floor((Date.now() - this.began) / 1000)) });
  }
}
