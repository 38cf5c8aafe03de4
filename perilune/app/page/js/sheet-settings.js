// The settings that matter, in one small sheet.
import { address, call, remove } from "./api.js";
import { sheet } from "./dialog.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { LANGUAGES, t } from "./i18n.js";
import { keyName, showKeys } from "./keys.js";
import { notice } from "./notice.js";
import { change, setting } from "./settings.js";

export function openSettings(state) {
  return sheet(t("settings"), (close) => [
    h(
      "div",
      { class: "stack" },
      h(
        "div",
        { class: "pair" },
        choice("theme", [
          ["auto", t("theme.auto")],
          ["light", t("theme.light")],
          ["dark", t("theme.dark")],
        ]),
        choice("language", [["auto", t("language.auto")], ...Object.entries(LANGUAGES)], () => location.reload()),
      ),
      choice("send", [
        ["enter", t("send.enter")],
        ["mod", t("send.mod")],
      ]),
      instructions(),
      h(
        "div",
        { class: "triple" },
        amount("temperature", 0, 2, 0.1),
        amount("top_p", 0.01, 1, 0.01),
        amount("max_tokens", 1, 1_000_000, 1),
      ),
      toggle("mind"),
      data(close),
      h("p", { class: "hint" }, t("about", { name: state.model.name, version: state.version })),
    ),
  ]);
}

function choice(name, options, then = () => {}) {
  const on = { change: (event) => (change(name, event.target.value), then()) };
  const select = h(
    "select",
    { on },
    options.map(([value, label]) => h("option", { value }, label)),
  );
  select.value = setting(name);
  return h("label", { class: "field" }, h("span", {}, t(`settings.${name}`)), select);
}

function instructions() {
  const on = { input: (event) => change("system", event.target.value) };
  const input = h("textarea", { rows: 3, value: setting("system"), placeholder: t("settings.system.hint"), on });
  return h("label", { class: "field" }, h("span", {}, t("settings.system")), input);
}

/** A number that may be left to the model. */
function amount(name, min, max, step) {
  const heard = (event) => {
    const { value, validity } = event.target;
    if (validity.valid) change(name, value === "" ? null : Number(value));
  };
  const input = h("input", {
    type: "number",
    min,
    max,
    step,
    value: setting(name) ?? "",
    placeholder: t("settings.default"),
    on: { input: heard },
  });
  return h("label", { class: "field" }, h("span", {}, t(`settings.${name}`)), input);
}

function toggle(name) {
  const input = h("input", {
    type: "checkbox",
    checked: setting(name),
    on: { change: () => change(name, input.checked) },
  });
  return h(
    "label",
    { class: "toggle" },
    input,
    h("span", {}, h("b", {}, t(`settings.${name}`)), h("small", { class: "hint" }, t(`settings.${name}.hint`))),
  );
}

function data(close) {
  const button = (sign, label, click) =>
    h("button", { type: "button", class: "button", on: { click } }, icon(sign), label);
  const save = () => h("a", { href: address("/export"), download: "perilune.json" }).click();
  return h(
    "div",
    { class: "actions start" },
    button("save", t("export.all"), save),
    button("load", t("import"), chooseImport),
    button("keyboard", `${t("keys.title")} (${keyName("keys")})`, () => (close(), showKeys())),
  );
}

function chooseImport() {
  const send = async () => {
    const [file] = input.files;
    if (!file) return;
    try {
      await call("POST", "/import", new Blob([file], { type: "application/json" }));
      location.reload();
    } catch (error) {
      notice(error.status ? error.message : t("offline"), { danger: true });
    }
  };
  const input = h("input", { type: "file", accept: ".json,application/json", on: { change: send } });
  input.click();
}

export async function leave() {
  await remove("/session");
  location.reload();
}
