// The tokens of a reply, coloured by how sure the model was. One is chosen with the pointer or the arrow keys.
import { freshId, h } from "./dom.js";
import { t } from "./i18n.js";

const SURE = [0.9, 0.6, 0.3, 0.1]; // probabilities at which the colour changes

export const probability = (logprob) => Math.exp(Math.min(0, logprob));

export class Words {
  /** `chosen(index)` hears which token is looked at. */
  constructor(chosen) {
    this.chosen = chosen;
    this.at = -1;
    this.prefix = freshId("word");
    const on = {
      pointerover: (event) => this.#pointed(event),
      click: (event) => this.#pointed(event),
      keydown: (event) => this.#key(event),
    };
    this.el = h("div", { class: "words", role: "listbox", tabindex: 0, "aria-label": t("mind.words"), on });
    this.count = 0;
  }

  /** Adds those that are new. */
  set(tokens) {
    const spans = tokens.slice(this.count).map((token, index) => {
      const place = this.count + index;
      const level = token.logprob === undefined ? 0 : SURE.filter((one) => probability(token.logprob) < one).length;
      const kind = `word s${level}${token.part === "reasoning" ? " reasoned" : ""}`;
      return h(
        "span",
        { class: kind, role: "option", id: `${this.prefix}-${place}`, data: { at: place }, "aria-selected": "false" },
        token.text,
      );
    });
    this.el.append(...spans);
    this.count = tokens.length;
  }

  choose(index) {
    if (index < 0 || index >= this.count || index === this.at) return;
    this.el.children[this.at]?.setAttribute("aria-selected", "false");
    this.at = index;
    const span = this.el.children[index];
    span.setAttribute("aria-selected", "true");
    this.el.setAttribute("aria-activedescendant", span.id);
    span.scrollIntoView({ block: "nearest" });
    this.chosen(index);
  }

  #pointed(event) {
    const at = event.target.closest("[data-at]")?.dataset.at;
    if (at !== undefined) this.choose(Number(at));
  }

  #key(event) {
    const to = {
      ArrowRight: this.at + 1,
      ArrowDown: this.at + 1,
      ArrowLeft: this.at - 1,
      ArrowUp: this.at - 1,
      Home: 0,
      End: this.count - 1,
    }[event.key];
    if (to === undefined || event.altKey) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(this.count - 1, to)));
  }
}
