// Markdown to safe elements. Raw HTML is shown as text, what is made is sanitised again, and nothing is loaded by being shown.
import DOMPurify from "../vendor/dompurify-3.5.0/purify.es.mjs";
import MarkdownIt from "../vendor/markdown-it-15.0.3/markdown-it.esm.min.mjs";
import { addCodeTools } from "./code.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { drawMaths, mathsRules } from "./maths.js";

const SAFE_LINK = /^(https?:|mailto:)/i;
const md = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false, maxNesting: 60 });
md.use(mathsRules);
// Only whole addresses become links by themselves: "main.rs" is a file, not a site.
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// A picture's address would tell its server that it was read; it is shown as a link.
md.renderer.rules.image = (tokens, index) => {
  const token = tokens[index];
  const source = token.attrGet("src") ?? "";
  const name = md.utils.escapeHtml(token.content || source);
  return SAFE_LINK.test(source) ? `<a class="picture-link" href="${md.utils.escapeHtml(source)}">${name}</a>` : name;
};

const ALLOWED = {
  ALLOWED_TAGS: [
    "p",
    "br",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "s",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "a",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "div",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align", "data-align"],
  ALLOWED_URI_REGEXP: SAFE_LINK,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// The policy of the page forbids style attributes, so the alignment of table cells is said by a class.
for (const rule of ["th_open", "td_open"]) {
  md.renderer.rules[rule] = (tokens, index, options, env, self) => {
    const style = tokens[index].attrGet("style");
    if (style) {
      tokens[index].attrs = tokens[index].attrs.filter(([name]) => name !== "style");
      tokens[index].attrJoin("class", `to-${style.split(":")[1].trim()}`);
    }
    return self.renderToken(tokens, index, options);
  };
}

export function parse(text, env) {
  return md.parse(text, env);
}

/** Tokens of whole blocks → a fragment of safe elements. */
export function toFragment(tokens, env, { finished = true } = {}) {
  const fragment = DOMPurify.sanitize(md.renderer.render(tokens, md.options, env), ALLOWED);
  for (const link of fragment.querySelectorAll("a[href]")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    if (link.classList.contains("picture-link")) link.prepend(icon("picture"));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": t("table") });
    table.replaceWith(box);
    box.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) addCodeTools(pre, finished);
  for (const maths of fragment.querySelectorAll(".maths")) drawMaths(maths, finished);
  return fragment;
}

/** The definition: the whole text at once. */
export function render(text) {
  const env = {};
  return toFragment(parse(text, env), env);
}
