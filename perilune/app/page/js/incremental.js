// Markdown that grows: blocks that can no longer change are made once, only the last one is made again with every piece.
import { h } from "./dom.js";
import { beforeOpenMaths } from "./maths.js";
import { parse, toFragment } from "./markdown.js";

export class GrowingMarkdown {
  constructor(el) {
    this.el = el;
    this.start();
  }

  start() {
    this.text = "";
    this.settled = 0; // characters of the text whose blocks stand in the page
    this.env = {};
    this.tail = h("div", { class: "tail" });
    this.el.replaceChildren(this.tail);
  }

  /** The text so far; it only ever grows, or it is begun anew. */
  set(text) {
    if (!text.startsWith(this.text)) this.start();
    this.text = text;
    this.#settle();
    this.tail.replaceChildren(this.#made(text.slice(this.settled), false));
  }

  /** The whole text is there. References that were defined later than they were used are known only now. */
  finish(text) {
    const env = {};
    const tokens = parse(text, env);
    this.el.replaceChildren(toFragment(tokens, env));
    this.text = text;
  }

  /** A block is settled when another one has begun after it on a line that is whole. */
  #settle() {
    const rest = beforeOpenMaths(this.text.slice(this.settled, this.text.lastIndexOf("\n") + 1));
    if (!rest) return;
    const starts = parse(rest, this.env).filter((token) => token.level === 0 && token.map && token.nesting >= 0);
    if (starts.length < 2) return;
    let at = 0;
    for (let line = starts.at(-1).map[0]; line > 0; line -= 1) at = rest.indexOf("\n", at) + 1;
    this.tail.before(this.#made(rest.slice(0, at), true));
    this.settled += at;
  }

  #made(text, finished) {
    return toFragment(parse(text, this.env), this.env, { finished });
  }
}
