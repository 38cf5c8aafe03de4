// The frame: sidebar (a drawer on a phone), the bar above the main column, and the panel beside it.
import { clear, h } from "./dom.js";
import { iconButton } from "./icons.js";
import { t } from "./i18n.js";
import { change, setting } from "./settings.js";

const NARROW = matchMedia("(max-width: 56rem)");

export class Shell {
  constructor(page, { onNew }) {
    this.page = page;
    this.sidebar = h("aside", { class: "sidebar", "aria-label": t("sidebar") });
    this.title = h("h1", {});
    this.actions = h("div", { class: "topbar-actions" });
    this.view = h("div", { class: "view" });
    this.panel = h("aside", { class: "panel", hidden: true });
    this.offline = h("div", { class: "offline", hidden: true, role: "status" }, t("offline"));
    this.opener = iconButton("menu", t("sidebar.toggle"), () => this.toggleSidebar(), { "aria-expanded": "false" });
    const bar = h(
      "header",
      { class: "topbar" },
      this.opener,
      this.title,
      this.actions,
      iconButton("pen", t("chat.new"), onNew, { class: "phone-only" }),
    );
    this.main = h("main", { id: "main", tabindex: -1 }, bar, this.offline, this.view);
    const skip = h(
      "a",
      { class: "button skip", href: "#main", on: { click: (event) => (event.preventDefault(), this.main.focus()) } },
      t("skip"),
    );
    const scrim = h("div", { class: "scrim", on: { click: () => this.closeDrawer() } });
    clear(page, skip, this.sidebar, scrim, this.main, this.panel);
    NARROW.addEventListener("change", () => this.#arrange());
    this.#arrange();
  }

  setTitle(text, small = "") {
    clear(this.title, text, small && h("small", {}, small));
    document.title = text ? `${text} · perilune` : "perilune";
  }

  setActions(...actions) {
    clear(this.actions, ...actions);
  }

  show(...content) {
    clear(this.view, ...content);
  }

  toggleSidebar() {
    if (!NARROW.matches) {
      change("sidebar", !setting("sidebar"));
      return this.#arrange();
    }
    if (this.page.classList.toggle("drawer")) this.sidebar.querySelector("a, button")?.focus();
    this.opener.setAttribute("aria-expanded", String(this.page.classList.contains("drawer")));
  }

  closeDrawer() {
    if (!this.page.classList.contains("drawer")) return false;
    this.page.classList.remove("drawer");
    this.opener.setAttribute("aria-expanded", "false");
    this.opener.focus();
    return true;
  }

  /** Opens the panel beside the chat; on a phone it covers it. The focus comes back to where it was. */
  openPanel(title, content, { actions = [], quiet = false } = {}) {
    if (this.panel.hidden) this.before = document.activeElement;
    const close = iconButton("close", t("close"), () => this.closePanel());
    const heading = h("h2", { tabindex: -1 }, title);
    clear(this.panel, h("header", {}, heading, ...actions, close), content);
    this.panel.setAttribute("aria-label", title);
    this.panel.hidden = false;
    this.page.classList.add("with-panel");
    if (!quiet) heading.focus();
  }

  closePanel() {
    if (this.panel.hidden) return false;
    this.panel.hidden = true;
    clear(this.panel);
    this.page.classList.remove("with-panel");
    if (this.before?.isConnected) this.before.focus();
    return true;
  }

  #arrange() {
    this.page.classList.toggle("no-sidebar", !setting("sidebar"));
    this.page.classList.remove("drawer");
    const open = !NARROW.matches && setting("sidebar");
    this.opener.setAttribute("aria-expanded", String(open));
  }
}
