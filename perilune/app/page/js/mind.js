// The model's mind: of a reply, word by word, what else could have stood there, which experts fired, what was read.
import { clear, fileName, h } from "./dom.js";
import { follow } from "./events.js";
import { ExpertMap } from "./expert-map.js";
import { icon } from "./icons.js";
import { number, t } from "./i18n.js";
import { energy } from "./meter.js";
import { openFile } from "./viewer.js";
import { probability, Words } from "./words.js";

const MOST_CHUNKS = 12; // passages listed of one token
const percent = (share) => number(share, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 });

export class MindPanel {
  /** `again()` turns the capture on and tries the reply once more. */
  constructor(shell, { again, quiet = false }) {
    this.shell = shell;
    this.again = again;
    this.tokens = [];
    this.words = new Words((index) => this.#choose(index));
    this.map = new ExpertMap();
    this.detail = h(
      "div",
      { class: "token-detail", "aria-live": "polite" },
      h("p", { class: "hint" }, t("mind.choose")),
    );
    this.energy = h("p", { class: "hint" });
    this.empty = h("p", { class: "hint" }, t("loading"));
    this.body = h("div", { class: "mind" }, this.empty);
    shell.openPanel(t("mind"), this.body, { quiet });
  }

  get isOpen() {
    return this.body.isConnected;
  }

  /** The tokens so far, and what they cost; called again with more of them while the reply is written. */
  set(tokens, meter) {
    this.tokens = tokens;
    if (!tokens.length) return;
    clear(this.energy, energy(meter));
    this.energy.hidden = !this.energy.firstChild;
    if (this.empty) {
      this.empty = null;
      const experts = tokens.some((token) => token.experts?.length);
      clear(this.body, this.words.el, this.energy, this.detail, experts && h("h3", {}, t("mind.experts")), experts && this.map.el);
    }
    this.words.set(tokens);
    this.map.set(tokens, this.words.at < 0 ? tokens.length - 1 : this.words.at);
  }

  /** A reply that was written before: told again as long as the server has its tokens. */
  async load(id) {
    const tokens = [];
    let meter = null;
    const told = (event) => {
      if (event.type === "token") tokens.push(event);
      else if (event.type === "meter") meter = event;
    };
    await follow(id, { told });
    if (tokens.length) return this.set(tokens, meter);
    clear(
      this.body,
      h("p", {}, t("mind.none")),
      h("button", { type: "button", class: "button main", on: { click: this.again } }, icon("mind"), t("mind.again")),
    );
  }

  #choose(index) {
    const token = this.tokens[index];
    this.map.set(this.tokens, index);
    clear(this.detail, this.#alternatives(token), this.#experts(token), this.#chunks(token));
  }

  #alternatives(token) {
    const shown = (text) => h("code", {}, text.replace(/\n/g, "⏎").replace(/ /g, "␣") || "∅");
    if (token.logprob === undefined) return h("p", {}, shown(token.text));
    const rows = (token.top ?? []).map(([text, logprob]) => {
      const bar = h("i", {});
      bar.style.width = `${100 * probability(logprob)}%`;
      return h(
        "li",
        { class: text === token.text ? "taken" : null },
        shown(text),
        h("span", { class: "bar" }, bar),
        h("span", {}, percent(probability(logprob))),
      );
    });
    return h(
      "section",
      {},
      h("h3", {}, shown(token.text), " ", percent(probability(token.logprob))),
      h("ul", { class: "alternatives", "aria-label": t("mind.alternatives") }, rows),
    );
  }

  #experts(token) {
    if (!token.experts?.length) return null;
    const row = ([layer, ids, weights]) => {
      const order = ids.map((id, index) => [id, weights[index]]).sort((a, b) => b[1] - a[1]);
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, t("mind.layer", { layer })),
        h(
          "td",
          {},
          order.map(([id, weight]) =>
            h("span", { class: "fired" }, `${id}`, h("small", {}, number(weight, { maximumFractionDigits: 2 }))),
          ),
        ),
      );
    };
    return h(
      "details",
      {},
      h("summary", {}, t("mind.token.experts")),
      h("table", { class: "fired-table" }, h("tbody", {}, token.experts.map(row))),
    );
  }

  #chunks(token) {
    const chunks = (token.chunks ?? []).slice().sort((a, b) => b.weight - a.weight);
    if (!chunks.length) return null;
    const rows = chunks.slice(0, MOST_CHUNKS).map((one) => {
      const place = t("lines", { first: one.lines[0], last: one.lines[1] });
      const click = () => openFile(this.shell, one.file, one);
      return h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "citation", on: { click } },
          icon("file"),
          fileName(one.name),
          h("span", { class: "place" }, place),
          one.weight > 0 && h("small", {}, percent(one.weight)),
        ),
      );
    });
    return h("section", {}, h("h3", {}, t("mind.read")), h("ul", { class: "chunk-list" }, rows));
  }
}
