// Chats by day, and the ways to everything else.
import { get, part, patch, post, remove, address } from "./api.js";
import { clear, h } from "./dom.js";
import { confirm, ask, sheet } from "./dialog.js";
import { icon, iconButton } from "./icons.js";
import { dayGroup, t } from "./i18n.js";
import { keyName } from "./keys.js";
import { showMenu } from "./menu.js";
import { notice } from "./notice.js";
import { go, to, where } from "./router.js";
import { leave } from "./sheet-settings.js";

const PAGE = 50; // chats fetched at a time
const TITLE_CHARACTERS = 80; // of a chat's first question

export class Sidebar {
  constructor(shell, { openSettings, user }) {
    this.shell = shell;
    this.chats = [];
    this.more = false;
    this.list = h("div", {
      class: "chats",
      role: "navigation",
      "aria-label": t("chats"),
      on: { scroll: () => this.#scrolled() },
    });
    const link = (place, sign, label, key) =>
      h(
        "a",
        { class: "row", href: to(place), data: { place } },
        icon(sign),
        label,
        key && h("kbd", { "aria-hidden": "true" }, keyName(key)),
      );
    this.places = h(
      "nav",
      { class: "places", "aria-label": t("places") },
      link("new", "pen", t("chat.new"), "new"),
      link("search", "search", t("search"), "search"),
      link("projects", "folder", t("projects")),
      link("tutor", "tutor", t("tutor")),
    );
    const brand = h("div", { class: "brand" }, h("img", { src: "/app/icon.svg", alt: "" }), h("b", {}, "perilune"));
    const settings = h(
      "button",
      { type: "button", class: "row", on: { click: openSettings } },
      icon("settings"),
      h("span", {}, t("settings")),
    );
    clear(
      shell.sidebar,
      brand,
      this.places,
      this.list,
      h("footer", {}, settings, user && iconButton("out", t("logout"), leave)),
    );
    shell.sidebar.addEventListener("click", (event) => event.target.closest("a") && shell.closeDrawer());
  }

  async load() {
    const { chats, more } = await get(`/chats?limit=${PAGE}`);
    this.chats = chats;
    this.more = more;
    this.draw();
  }

  /** A chat that is new, or has been spoken to, goes to the top. */
  touch(chat) {
    this.chats = [{ ...chat, updated: Date.now() / 1000 }, ...this.chats.filter((one) => one.id !== chat.id)];
    this.draw();
  }

  draw() {
    const here = where();
    const groups = new Map();
    for (const chat of this.chats) {
      const name = dayGroup(chat.updated);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(this.#row(chat, here.place === "chat" && here.id === chat.id));
    }
    const drawn = [...groups].map(([name, rows]) => h("section", {}, h("h2", {}, name), h("ul", {}, rows)));
    const top = this.list.scrollTop;
    clear(this.list, drawn.length ? drawn : h("p", { class: "nothing" }, t("chats.none")));
    this.list.scrollTop = top;
    for (const row of this.places.children) {
      if (row.dataset.place === here.place) row.setAttribute("aria-current", "page");
      else row.removeAttribute("aria-current");
    }
  }

  #row(chat, current) {
    const title = chat.title || t("chat.untitled");
    const more = iconButton("more", t("chat.actions", { title }), () => this.#menu(more, chat), {
      class: "small",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
    });
    return h(
      "li",
      {},
      h(
        "a",
        { class: "row", href: to("chat", chat.id), "aria-current": current ? "page" : null },
        h("span", {}, title),
      ),
      more,
    );
  }

  #menu(button, chat) {
    showMenu(
      button,
      chatActions(chat, {
        changed: (now) => {
          Object.assign(chat, now);
          this.draw();
          if (where().id === chat.id) this.shell.setTitle(chat.title);
        },
        gone: () => {
          this.chats = this.chats.filter((one) => one.id !== chat.id);
          if (where().id === chat.id) go("new");
          this.draw();
        },
      }),
    );
  }

  async #scrolled() {
    if (!this.more || this.list.scrollTop + this.list.clientHeight < this.list.scrollHeight - 400) return;
    this.more = false;
    const { chats, more } = await get(`/chats?limit=${PAGE}&before=${this.chats.at(-1).updated}`);
    const known = new Set(this.chats.map((chat) => chat.id));
    this.chats.push(...chats.filter((chat) => !known.has(chat.id)));
    this.more = more;
    this.draw();
  }
}

/** What can be done with a chat, for its menu in the sidebar and above it. */
export function chatActions(chat, { changed, gone }) {
  const tried = (run) => async () => {
    try {
      await run();
    } catch (error) {
      notice(error.message, { danger: true });
    }
  };
  const download = (format) => () =>
    h("a", { href: address(`/chats/${part(chat.id)}/export?format=${format}`), download: "" }).click();
  return [
    {
      icon: "pen",
      label: t("rename"),
      run: tried(async () => {
        const title = await ask(t("rename"), t("title"), chat.title ?? "");
        if (title) changed(await patch(`/chats/${part(chat.id)}`, { title }));
      }),
    },
    {
      icon: "folder",
      label: t("chat.move"),
      run: tried(async () => {
        const project = await chooseProject();
        if (project !== null) changed(await patch(`/chats/${part(chat.id)}`, { project: project || null }));
      }),
    },
    { icon: "save", label: t("export.markdown"), run: download("markdown") },
    { icon: "save", label: t("export.json"), run: download("json") },
    {
      icon: "trash",
      label: t("delete"),
      danger: true,
      run: tried(async () => {
        if (
          !(await confirm(
            t("chat.delete"),
            t("chat.delete.sure", { title: chat.title || t("chat.untitled") }),
            t("delete"),
          ))
        )
          return;
        await remove(`/chats/${part(chat.id)}`);
        gone();
      }),
    },
  ];
}

/** The id of a project, "" for none, null when nothing was chosen. */
async function chooseProject() {
  const { projects } = await get("/projects");
  return sheet(t("chat.move"), (close) => {
    const row = (id, name) =>
      h(
        "button",
        { type: "button", class: "row", on: { click: () => close(id) } },
        icon(id ? "folder" : "close"),
        name,
      );
    return h(
      "div",
      { class: "stack tight" },
      row("", t("project.none")),
      projects.map((project) => row(project.id, project.name)),
    );
  });
}

/** A chat that begins with a text is called by it. */
export function newChat(project, text) {
  const title = text.replace(/\s+/g, " ").slice(0, TITLE_CHARACTERS);
  return post("/chats", { ...(project && { project }), ...(title && { title }) });
}
