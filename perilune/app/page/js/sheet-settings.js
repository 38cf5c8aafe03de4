// The settings that matter, in one small sheet.
import { remove } from "./api.js";
import { sheet } from "./dialog.js";
import { h } from "./dom.js";
import { LANGUAGES, t } from "./i18n.js";
import { change, setting } from "./settings.js";

export function openSettings(state) {
  return sheet(t("settings"), () => [
    h(
      "div",
      { class: "stack" },
      choice("theme", [
        ["auto", t("theme.auto")],
        ["light", t("theme.light")],
        ["dark", t("theme.dark")],
      ]),
      choice("language", [["auto", t("language.auto")], ...Object.entries(LANGUAGES)], () => location.reload()),
      choice("send", [
        ["enter", t("send.enter")],
        ["mod", t("send.mod")],
      ]),
      state.user &&
        h(
          "div",
          { class: "actions" },
          h("button", { type: "button", class: "button", on: { click: leave } }, t("logout")),
        ),
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

async function leave() {
  await remove("/session");
  location.reload();
}
