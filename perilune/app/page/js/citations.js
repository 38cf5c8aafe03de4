// Where in the files an answer comes from; a click opens the place.
import { fileName, h } from "./dom.js";
import { icon } from "./icons.js";
import { number, t } from "./i18n.js";

export function citationList(citations, open) {
  if (!citations?.length) return null;
  const rows = citations.map((one) => {
    const [first, last] = one.lines;
    const place = first === last ? t("line", { line: first }) : t("lines", { first, last });
    const share = one.share ? h("small", {}, number(one.share, { style: "percent", maximumFractionDigits: 0 })) : null;
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "citation",
          disabled: !one.file,
          title: one.quote || one.problem || "",
          on: { click: () => open(one) },
        },
        icon("file"),
        fileName(one.name),
        h("span", { class: "place" }, place),
        share,
      ),
    );
  });
  return h(
    "section",
    { class: "citations", "aria-label": t("citations") },
    h("h3", {}, t("citations")),
    h("ul", {}, rows),
  );
}
