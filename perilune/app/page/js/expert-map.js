// Which experts fired: a row per layer, a column per expert, darker the more they weighed; the chosen token's are framed.
import { h } from "./dom.js";
import { number, t } from "./i18n.js";

const CELL_PX = 14; // at most; many experts make cells smaller
const LEAST_PX = 2;

export class ExpertMap {
  constructor() {
    this.layers = new Map(); // layer → Float64Array-like list of sums of weights, by expert
    this.experts = 0;
    this.now = [];
    this.count = 0;
    this.canvas = h("canvas", {
      class: "expert-map",
      role: "img",
      on: { pointermove: (event) => this.#pointed(event), pointerleave: () => this.#tell("") },
    });
    this.line = h("p", { class: "hint" });
    this.el = h("figure", { class: "experts" }, this.canvas, this.line);
    new ResizeObserver(() => this.draw()).observe(this.el);
  }

  /** Adds tokens that are new; `chosen` is the one whose experts are framed. */
  set(tokens, chosen) {
    for (const token of tokens.slice(this.count))
      for (const [layer, ids, weights] of token.experts ?? []) this.#add(layer, ids, weights);
    this.count = tokens.length;
    this.now = tokens[chosen]?.experts ?? [];
    this.draw();
  }

  #add(layer, ids, weights) {
    if (!this.layers.has(layer)) this.layers.set(layer, []);
    const sums = this.layers.get(layer);
    ids.forEach((id, index) => {
      sums[id] = (sums[id] ?? 0) + weights[index];
      this.experts = Math.max(this.experts, id + 1);
    });
  }

  draw() {
    const width = this.el.clientWidth;
    if (!width || !this.experts) return;
    const rows = [...this.layers.keys()].sort((a, b) => a - b);
    const cell = Math.max(LEAST_PX, Math.min(CELL_PX, Math.floor(width / this.experts)));
    const sharp = devicePixelRatio || 1;
    Object.assign(this, { rows, cell });
    this.canvas.width = this.experts * cell * sharp;
    this.canvas.height = rows.length * cell * sharp;
    this.canvas.style.width = `${this.experts * cell}px`;
    this.canvas.style.height = `${rows.length * cell}px`;
    const style = getComputedStyle(this.el);
    const draw = this.canvas.getContext("2d");
    draw.scale(sharp, sharp);
    const gap = cell > 4 ? 1 : 0;
    rows.forEach((layer, y) => {
      const sums = this.layers.get(layer);
      const most = Math.max(...sums.filter(Boolean), 1e-9);
      for (let x = 0; x < this.experts; x += 1) {
        draw.globalAlpha = 0.07 + 0.93 * Math.sqrt((sums[x] ?? 0) / most);
        draw.fillStyle = sums[x] ? style.caretColor : style.color;
        draw.fillRect(x * cell, y * cell, cell - gap, cell - gap);
      }
    });
    draw.globalAlpha = 1;
    draw.strokeStyle = style.color;
    draw.lineWidth = Math.max(1, cell / 7);
    for (const [layer, ids] of this.now)
      for (const id of ids)
        draw.strokeRect(id * cell + 0.5, rows.indexOf(layer) * cell + 0.5, cell - gap - 1, cell - gap - 1);
    const fired = [...this.layers.values()].reduce((sum, sums) => sum + sums.filter(Boolean).length, 0);
    this.canvas.setAttribute("aria-label", t("mind.fired", { fired, layers: rows.length }));
    if (!this.pointing) this.#tell("");
  }

  #pointed(event) {
    const layer = this.rows?.[Math.floor(event.offsetY / this.cell)];
    const expert = Math.floor(event.offsetX / this.cell);
    if (layer === undefined || expert >= this.experts) return;
    const weight = number(this.layers.get(layer)[expert] ?? 0, { maximumFractionDigits: 2 });
    this.#tell(t("mind.expert", { layer, expert, weight }));
  }

  #tell(text) {
    this.pointing = Boolean(text);
    this.line.textContent = text || this.canvas.getAttribute("aria-label") || "";
  }
}
