// What an empty chat shows: a greeting, what this model can take, and ways to begin.
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { shortNumber, t } from "./i18n.js";

export function welcome(state, { start, starts = [] }) {
  const { model } = state;
  const can = [
    t("welcome.reads", { tokens: shortNumber(model.context) }),
    model.sees && t("welcome.sees"),
    model.hears && t("welcome.hears"),
  ];
  const chips = ["story", "explain", "code"].map((name) =>
    h(
      "button",
      { type: "button", class: "chip", on: { click: () => start(t(`start.${name}.text`)) } },
      t(`start.${name}`),
    ),
  );
  return h(
    "div",
    { class: "welcome" },
    h(
      "div",
      {},
      h("h2", {}, t("welcome")),
      h("p", {}, `${t("welcome.model", { name: model.name })} ${can.filter(Boolean).join(" ")}`),
      h("div", { class: "starts" }, starts, chips),
    ),
  );
}

export function startChip(sign, label, click) {
  return h("button", { type: "button", class: "chip", on: { click } }, icon(sign), label);
}
