// Code blocks: a bar with the language and a copy button, colours from highlight.js once the block is whole.
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { announce } from "./notice.js";

const FOLDER = "../vendor/highlightjs-11.12.0";
const NAMES = {
  python: "python",
  py: "python",
  javascript: "javascript",
  js: "javascript",
  mjs: "javascript",
  jsx: "javascript",
  typescript: "typescript",
  ts: "typescript",
  tsx: "typescript",
  bash: "bash",
  sh: "bash",
  shell: "bash",
  zsh: "bash",
  console: "bash",
  json: "json",
  jsonl: "json",
  c: "c",
  h: "c",
  cpp: "cpp",
  "c++": "cpp",
  rust: "rust",
  rs: "rust",
  go: "go",
  java: "java",
  sql: "sql",
  css: "css",
  html: "xml",
  xml: "xml",
  svg: "xml",
  yaml: "yaml",
  yml: "yaml",
  diff: "diff",
  patch: "diff",
};
const LONGEST = 200_000; // characters that are coloured
let core = null;
const grammars = new Map();
const tools = [];

/** Other rooms add buttons to code blocks: `make(language, text)` gives a button or null. */
export function addCodeTool(make) {
  tools.push(make);
}

export function addCodeTools(pre, finished) {
  const code = pre.querySelector("code") ?? pre;
  const language = /language-(\S+)/.exec(code.className)?.[1].toLowerCase() ?? "";
  const text = () => code.textContent.replace(/\n$/, "");
  const copy = h(
    "button",
    { type: "button", class: "bar-button", on: { click: () => copyText(text(), copy) } },
    icon("copy"),
    t("copy"),
  );
  const more = finished ? tools.map((make) => make(language, text, () => box)) : [];
  const box = h(
    "div",
    { class: "code" },
    h("div", { class: "code-bar" }, h("span", {}, language), h("span", { class: "gap" }), ...more, copy),
  );
  pre.replaceWith(box);
  pre.tabIndex = 0;
  box.append(pre);
  if (finished && NAMES[language] && code.textContent.length <= LONGEST) highlight(code, NAMES[language]);
}

export async function copyText(text, button) {
  await navigator.clipboard.writeText(text);
  announce(t("copied"));
  const before = [...button.childNodes];
  button.replaceChildren(icon("check"), ...(before.length > 1 ? [t("copied")] : []));
  setTimeout(() => button.replaceChildren(...before), 1500);
}

async function highlight(code, name) {
  core ??= import(`${FOLDER}/core.min.js`).then((module) => module.default);
  const hljs = await core;
  if (!grammars.has(name))
    grammars.set(
      name,
      import(`${FOLDER}/languages/${name}.min.js`).then((module) => hljs.registerLanguage(name, module.default)),
    );
  await grammars.get(name);
  const { _emitter: emitter } = hljs.highlight(code.textContent, { language: name, ignoreIllegals: true });
  code.replaceChildren(...spans(emitter.rootNode.children));
}

/** highlight.js's tree as elements: its HTML is never parsed. */
function spans(nodes) {
  return nodes.map((node) =>
    typeof node === "string"
      ? document.createTextNode(node)
      : h(
          "span",
          {
            class: `hl-${String(node.scope)
              .split(".")[0]
              .replace(/[^\w-]/g, "-")}`,
          },
          spans(node.children),
        ),
  );
}
