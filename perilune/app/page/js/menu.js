// A small menu at a button: arrow keys walk, Escape and Tab close, the button gets the focus back.
import { h } from "./dom.js";
import { icon } from "./icons.js";

let open = null;

/** items: [{icon, label, run, danger?}] */
export function showMenu(button, items) {
  if (open) return open.close(open.button !== button);
  const choose = (item) => () => (close(), item.run());
  const rows = items.map((item) =>
    h(
      "button",
      {
        type: "button",
        role: "menuitem",
        tabindex: -1,
        class: item.danger ? "row danger" : "row",
        on: { click: choose(item) },
      },
      icon(item.icon),
      item.label,
    ),
  );
  const menu = h("div", { class: "menu", role: "menu", on: { keydown } }, rows);
  const close = (refocus = true) => {
    open = null;
    menu.remove();
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (refocus) button.focus();
  };
  function outside(event) {
    if (!menu.contains(event.target) && !button.contains(event.target)) close(false);
  }
  function keydown(event) {
    const at = rows.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to !== undefined) rows[(to + rows.length) % rows.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  // Inside a dialog the menu has to stand in it, or it would lie below.
  (button.closest("dialog") ?? document.body).append(menu);
  place(menu, button.getBoundingClientRect());
  button.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  open = { button, close };
  rows[0].focus();
}

function place(menu, at) {
  const width = menu.offsetWidth,
    height = menu.offsetHeight,
    room = 8;
  const left = Math.min(Math.max(room, at.right - width), innerWidth - width - room);
  const below = at.bottom + 4 + height <= innerHeight - room;
  menu.style.left = `${left}px`;
  menu.style.top = `${below ? at.bottom + 4 : Math.max(room, at.top - height - 4)}px`;
}
