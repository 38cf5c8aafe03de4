// Full-text search over all chats; the address holds the words, so that it can be gone back to.
import { get, part } from "./api.js";
import { clear, h } from "./dom.js";
import { date, t } from "./i18n.js";
import { announce } from "./notice.js";
import { to } from "./router.js";

const PAUSE_MS = 180;

export function showSearch(shell, words) {
  shell.setTitle(t("search"));
  shell.setActions();
  const results = h("div", { class: "results" });
  const input = h("input", {
    type: "search",
    value: words,
    placeholder: t("search.hint"),
    "aria-label": t("search"),
    on: { input: typed },
  });
  shell.show(h("div", { class: "page" }, h("div", { class: "column" }, input, results)));
  input.focus();
  let timer = 0;
  let turn = 0;

  function typed() {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE_MS);
  }

  async function look(before = null) {
    turn += 1;
    const mine = turn;
    const query = input.value.trim();
    history.replaceState(null, "", to("search", query));
    if (!query) return clear(results);
    try {
      const { chats, more } = await get(`/chats?query=${part(query)}&limit=50${before ? `&before=${before}` : ""}`);
      if (mine !== turn) return;
      const rows = chats.map(result);
      const next =
        more &&
        h(
          "button",
          { type: "button", class: "button", on: { click: () => (next.remove(), look(chats.at(-1).updated)) } },
          t("more"),
        );
      if (before) return results.append(...rows, ...(next ? [next] : []));
      clear(results, rows.length ? rows : h("p", { class: "hint" }, t("search.none")), next);
      announce(t("search.found", { count: rows.length }));
    } catch (error) {
      if (mine === turn) clear(results, h("p", { class: "fault" }, error.status ? error.message : t("offline")));
    }
  }

  if (words) look();
}

function result(chat) {
  const snippet = chat.snippet.map(([text, hit]) => (hit ? h("mark", {}, text) : text));
  return h(
    "a",
    { class: "result", href: to("chat", chat.id) },
    h("b", {}, chat.title || t("chat.untitled")),
    h("small", {}, date(chat.updated, { dateStyle: "medium" })),
    h("p", {}, snippet),
  );
}
