// Code that a model wrote: Python runs, HTML and SVG are shown, each in a frame that reaches neither this page nor the net.
import { addCodeTool } from "./code.js";
import { clear, h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { announce } from "./notice.js";

const PREVIEW_PX = [120, 480]; // least and greatest height of a preview

/** Adds "Run" and "Show" to code blocks. */
export function offerToRun() {
  addCodeTool((language, text, box) => {
    if (language === "python" || language === "py")
      return tool("run", t("run"), () => runPython(text(), outputOf(box())));
    if (language === "html" || language === "svg")
      return tool("eye", t("preview"), () => clear(outputOf(box()), preview(language, text())));
    return null;
  });
}

function tool(sign, label, click) {
  return h("button", { type: "button", class: "bar-button", on: { click } }, icon(sign), label);
}

/** The place below a code block for what comes of it. */
function outputOf(box) {
  let output = box.querySelector(":scope > .output");
  if (!output) box.append((output = h("div", { class: "output" })));
  return output;
}

function frame(name, label) {
  return h("iframe", {
    src: `/app/frames/${name}.html`,
    sandbox: "allow-scripts",
    title: label,
    class: name,
    referrerpolicy: "no-referrer",
  });
}

/** A frame that shows HTML or SVG. */
export function preview(kind, text) {
  const view = frame("preview", t("preview"));
  const html =
    kind === "svg"
      ? `<!doctype html><style>html,body{margin:0;height:100%}svg{max-width:100%;max-height:100vh;display:block;margin:auto}</style>${text}`
      : text;
  const heard = ({ source, data }) => {
    if (source !== view.contentWindow || data !== "ready") return;
    removeEventListener("message", heard);
    view.contentWindow.postMessage({ html }, "*");
  };
  addEventListener("message", heard);
  const size = /<svg[^>]*\bheight=["']?(\d+)/.exec(text)?.[1];
  view.style.height = `${Math.min(PREVIEW_PX[1], Math.max(PREVIEW_PX[0], Number(size ?? (kind === "svg" ? 320 : 280))))}px`;
  return view;
}

/** Runs a program and shows what it says; removing its frame ends it, wherever it is. */
function runPython(code, output) {
  const text = h("pre", { tabindex: 0, "aria-label": t("run.output") });
  const state = h("span", { role: "status" }, t("run.loading"));
  const python = frame("python", t("run.output"));
  python.hidden = true;
  const end = (label) => {
    removeEventListener("message", heard);
    python.remove();
    stop.remove();
    state.textContent = label;
    announce(label);
  };
  const stop = tool("stop", t("stop"), () => end(t("run.stopped")));
  const shown = h("div", { class: "shown" });
  clear(output, h("div", { class: "output-bar" }, state, h("span", { class: "gap" }), stop), text, shown, python);
  addEventListener("message", heard);
  function heard({ source, data }) {
    if (source !== python.contentWindow) return;
    if (data.type === "ready") python.contentWindow.postMessage({ code }, "*");
    else if (data.type === "running") state.textContent = t("run.running");
    else if (data.type === "out" || data.type === "text")
      text.append(data.type === "text" ? `${data.text}\n` : data.text);
    else if (data.type === "err") text.append(h("span", { class: "fault" }, data.text));
    else if (data.type === "svg" || data.type === "html") shown.append(preview(data.type, data.text));
    else if (data.type === "done") end(t("run.done"));
    else if (data.type === "fault") (text.append(h("span", { class: "fault" }, data.text)), end(t("run.failed")));
  }
}
