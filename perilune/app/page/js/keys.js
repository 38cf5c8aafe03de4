// The keyboard map. Every shortcut has a modifier, so that nobody who dictates or types sets one off.
import { h } from "./dom.js";
import { sheet } from "./dialog.js";
import { t } from "./i18n.js";

const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
// [code, modifiers, what it is called]; "mod" is ⌘ on Apple's machines and Ctrl elsewhere.
const SHORTCUTS = [
  ["KeyK", "mod", "search"],
  ["KeyN", "alt", "new"],
  ["KeyM", "alt", "compose"],
  ["KeyB", "mod", "sidebar"],
  ["ArrowUp", "alt", "previous"],
  ["ArrowDown", "alt", "next"],
  ["KeyE", "alt", "edit"],
  ["KeyR", "alt", "again"],
  ["ArrowLeft", "alt", "branchBefore"],
  ["ArrowRight", "alt", "branchAfter"],
  ["KeyA", "alt", "answer"],
  ["Comma", "mod", "settings"],
  ["Slash", "mod", "keys"],
];
const SIGNS = { Comma: ",", Slash: "/", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };

/** actions: {search() {…}, …}; one that returns false did nothing, and the key keeps its usual meaning. */
export function listenForKeys(actions) {
  addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (actions.escape?.() !== false) event.preventDefault();
      return;
    }
    const mod = (MAC ? event.metaKey : event.ctrlKey)
      ? "mod"
      : event.altKey && !event.ctrlKey && !event.metaKey
        ? "alt"
        : null;
    if (!mod || event.shiftKey) return;
    const found = SHORTCUTS.find(([code, with_]) => code === event.code && with_ === mod);
    if (found && actions[found[2]] && actions[found[2]]() !== false) event.preventDefault();
  });
}

export function keyName(name) {
  const [code, mod] = SHORTCUTS.find((one) => one[2] === name);
  const sign = SIGNS[code] ?? code.replace("Key", "");
  if (MAC) return (mod === "mod" ? "⌘" : "⌥") + sign;
  return `${mod === "mod" ? "Ctrl" : "Alt"}+${sign}`;
}

export function showKeys() {
  const rows = SHORTCUTS.map(([, , name]) =>
    h("tr", {}, h("td", {}, t(`keys.${name}`)), h("td", {}, h("kbd", {}, keyName(name)))),
  );
  rows.push(h("tr", {}, h("td", {}, t("keys.escape")), h("td", {}, h("kbd", {}, "Esc"))));
  return sheet(t("keys.title"), () => h("table", { class: "keys" }, h("tbody", {}, rows)));
}
