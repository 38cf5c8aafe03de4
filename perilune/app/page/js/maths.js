// Maths in Markdown: $…$, $$…$$, \(…\) and \[…\]; KaTeX is fetched when the first formula comes.
import { h } from "./dom.js";

const FOLDER = "/app/vendor/katex-0.19.1";
const LONGEST = 20_000; // characters of one formula
let library = null;

function loadKatex() {
  library ??= new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href: `${FOLDER}/katex.min.css` }));
    const script = h("script", {
      src: `${FOLDER}/katex.min.js`,
      on: { load: () => resolve(globalThis.katex), error: reject },
    });
    document.head.append(script);
  });
  return library;
}

/** Replaces the TeX in an element by the formula; a formula that KaTeX refuses stays as it was written. */
export async function drawMaths(el, finished) {
  if (!finished || el.textContent.length > LONGEST) return;
  const source = el.textContent;
  const katex = await loadKatex();
  const options = {
    displayMode: el.classList.contains("block"),
    throwOnError: true,
    trust: false,
    strict: "ignore",
    maxSize: 20,
    maxExpand: 500,
  };
  try {
    // Built as elements: styles are set by script, which the page's policy allows; style attributes it does not.
    katex.render(source, el, options);
    el.title = source;
  } catch {
    el.textContent = source;
    el.classList.add("raw");
  }
}

/** A plugin for markdown-it. */
export function mathsRules(md) {
  md.inline.ruler.before("escape", "maths", inlineMaths);
  md.block.ruler.after("fence", "maths", blockMaths, { alt: ["paragraph", "reference", "blockquote", "list"] });
  const span = (kind) => (tokens, index) =>
    `<span class="maths ${kind}">${md.utils.escapeHtml(tokens[index].content)}</span>`;
  md.renderer.rules.maths_inline = span("inline");
  md.renderer.rules.maths_display = span("block");
  md.renderer.rules.maths_block = (tokens, index) =>
    `<div class="maths block">${md.utils.escapeHtml(tokens[index].content)}</div>\n`;
}

const PAIRS = [
  ["$$", "$$", "maths_display"],
  ["\\[", "\\]", "maths_display"],
  ["\\(", "\\)", "maths_inline"],
  ["$", "$", "maths_inline"],
];

function inlineMaths(state, silent) {
  const { src, pos } = state;
  const sign = src.charCodeAt(pos);
  if (sign !== 0x24 && sign !== 0x5c) return false;
  const pair = PAIRS.find(([open]) => src.startsWith(open, pos));
  if (!pair) return false;
  const [open, close, kind] = pair;
  const start = pos + open.length;
  let end = src.indexOf(close, start);
  if (open === "$") {
    // "$5 and $6" is money: no space inside the signs, no digit after the last one.
    if (/\s/.test(src[start] ?? " ")) return false;
    while (end > 0 && (src[end - 1] === "\\" || /\s/.test(src[end - 1]) || /\d/.test(src[end + 1] ?? "")))
      end = src.indexOf(close, end + 1);
  }
  if (end <= start || end > state.posMax) return false;
  if (!silent) state.push(kind, "", 0).content = src.slice(start, end).trim();
  state.pos = end + close.length;
  return true;
}

function blockMaths(state, startLine, endLine, silent) {
  const line = (n) => state.src.slice(state.bMarks[n] + state.tShift[n], state.eMarks[n]);
  const first = line(startLine);
  const pair = PAIRS.slice(0, 2).find(([open]) => first.startsWith(open));
  if (!pair || state.sCount[startLine] - state.blkIndent >= 4) return false;
  const [open, close] = pair;
  const content = [];
  for (let n = startLine; n < endLine; n += 1) {
    const text = n === startLine ? first.slice(open.length) : line(n);
    if (n > startLine && (state.sCount[n] < state.blkIndent || !text.trim())) return false;
    const end = text.indexOf(close);
    if (end < 0) {
      content.push(text);
      continue;
    }
    if (text.slice(end + close.length).trim()) return false;
    if (silent) return true;
    content.push(text.slice(0, end));
    const token = state.push("maths_block", "div", 0);
    token.content = content.join("\n").trim();
    token.map = [startLine, n + 1];
    token.block = true;
    state.line = n + 1;
    return true;
  }
  return false;
}

/** The text up to the last blank line, where a formula has begun after it that what follows may still close. */
export function beforeOpenMaths(text) {
  const blank = [...text.matchAll(/\n[ \t]*(?=\n)/g)].at(-1);
  const start = blank ? blank.index + blank[0].length + 1 : 0;
  const last = text.slice(start);
  const open = last.split("$$").length % 2 === 0 || last.lastIndexOf("\\[") > last.lastIndexOf("\\]");
  return open ? text.slice(0, start) : text;
}
