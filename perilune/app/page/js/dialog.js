// Sheets and questions on the browser's own <dialog>: it keeps the focus inside and gives it back.
import { freshId, h } from "./dom.js";
import { iconButton } from "./icons.js";
import { t } from "./i18n.js";

/** Shows a sheet; resolves with what `close(value)` was given, or null. `fill(close)` gives its content. */
export function sheet(title, fill) {
  return new Promise((resolve) => {
    let result = null;
    const close = (value = null) => {
      result = value;
      dialog.close();
    };
    const id = freshId("title");
    const head = h(
      "header",
      {},
      h("h2", { id }, title),
      iconButton("close", t("close"), () => close()),
    );
    const dialog = h("dialog", { class: "sheet", "aria-labelledby": id }, head);
    dialog.append(h("div", { class: "sheet-body" }, fill(close)));
    dialog.addEventListener("close", () => (dialog.remove(), resolve(result)));
    dialog.addEventListener("pointerdown", (event) => event.target === dialog && close());
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("[autofocus]")?.focus();
  });
}

export function confirm(title, text, action) {
  return sheet(title, (close) => [
    h("p", {}, text),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "button", autofocus: true, on: { click: () => close(false) } }, t("cancel")),
      h("button", { type: "button", class: "button danger", on: { click: () => close(true) } }, action),
    ),
  ]);
}

/** One line of text, or null. */
export function ask(title, label, value = "", { type = "text", action = t("save") } = {}) {
  return sheet(title, (close) => {
    const input = h("input", { type, value, autofocus: true, required: true, autocomplete: "off" });
    const submit = (event) => {
      event.preventDefault();
      if (input.value.trim()) close(input.value.trim());
    };
    return h(
      "form",
      { class: "stack", on: { submit } },
      h("label", { class: "field" }, h("span", {}, label), input),
      h("div", { class: "actions" }, h("button", { class: "button main" }, action)),
    );
  });
}
