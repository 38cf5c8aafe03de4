// Projects: a name, standing instructions, files that stay read, and the chats that use them.
import { get, part, patch, post, remove } from "./api.js";
import { ask, confirm } from "./dialog.js";
import { clear, h } from "./dom.js";
import { icon, iconButton } from "./icons.js";
import { date, t } from "./i18n.js";
import { chooserMenu, listenForDrop } from "./incoming.js";
import { notice } from "./notice.js";
import { go, to, where } from "./router.js";
import { Shelf } from "./shelf.js";
import { openFile } from "./viewer.js";

const PAUSE_MS = 600;
const told = (error) => notice(error.status ? error.message : t("offline"), { danger: true });

export async function showProjects(shell) {
  shell.setTitle(t("projects"));
  const make = h(
    "button",
    { type: "button", class: "button main", on: { click: begin } },
    icon("plus"),
    t("project.new"),
  );
  shell.setActions(make);
  const list = h("div", { class: "cards" });
  shell.show(h("div", { class: "page" }, h("div", { class: "column" }, list)));
  try {
    const { projects } = await get("/projects");
    const card = (project) =>
      h(
        "a",
        { class: "card", href: to("project", project.id) },
        icon("folder"),
        h("b", {}, project.name),
        h("p", {}, project.instructions || t("project.no.instructions")),
        h(
          "small",
          {},
          t("project.files", { count: project.files.length }),
          " · ",
          date(project.updated, { dateStyle: "medium" }),
        ),
      );
    clear(list, projects.length ? projects.map(card) : h("p", { class: "empty" }, t("projects.none")));
  } catch (error) {
    told(error);
  }
}

async function begin() {
  const name = await ask(t("project.new"), t("name"), "", { action: t("create") });
  if (!name) return;
  try {
    go("project", (await post("/projects", { name })).id);
  } catch (error) {
    told(error);
  }
}

/** The page of one project, above the composer that begins a chat in it. */
export async function showProject(shell, id, { chat, state }) {
  let project, chats, files;
  try {
    project = await get(`/projects/${part(id)}`);
    ({ chats } = await get(`/chats?project=${part(id)}&limit=100`));
    files = await Promise.all(project.files.map((file) => get(`/files/${part(file)}`)));
  } catch (error) {
    told(error);
    return go("projects");
  }
  if (where().id !== id) return;
  const saved = h("span", { class: "hint", role: "status" });
  const save = async (change) => {
    try {
      Object.assign(project, await patch(`/projects/${part(id)}`, change));
      saved.textContent = t("saved");
    } catch (error) {
      saved.textContent = "";
      told(error);
    }
  };
  const column = h(
    "div",
    { class: "column stack" },
    instructions(project, save, saved),
    fileSection(shell, project, files, state, save),
    chatSection(chats),
  );
  chat.fresh(project.id, h("div", { class: "page" }, column));
  shell.setTitle(project.name);
  const rename = async () => {
    const name = await ask(t("rename"), t("name"), project.name);
    if (!name) return;
    await save({ name });
    shell.setTitle(project.name);
  };
  const drop = async () => {
    if (!(await confirm(t("project.delete"), t("project.delete.sure", { name: project.name }), t("delete")))) return;
    await remove(`/projects/${part(id)}`).then(() => go("projects"), told);
  };
  shell.setActions(iconButton("pen", t("rename"), rename), iconButton("trash", t("delete"), drop));
}

function instructions(project, save, saved) {
  let timer = 0;
  const write = () => {
    clearTimeout(timer);
    if (input.value !== project.instructions) save({ instructions: input.value });
  };
  const typed = () => {
    saved.textContent = "";
    clearTimeout(timer);
    timer = setTimeout(write, PAUSE_MS);
  };
  const input = h("textarea", {
    rows: 4,
    value: project.instructions,
    placeholder: t("project.instructions.hint"),
    on: { input: typed, blur: write },
  });
  return h("label", { class: "field" }, h("span", { class: "heading" }, t("project.instructions"), saved), input);
}

function fileSection(shell, project, files, state, save) {
  const changed = () => {
    const now = shelf.files.map((file) => file.id);
    if (!shelf.busy && now.join() !== project.files.join()) save({ files: now });
  };
  const shelf = new Shelf({
    changed,
    context: state.model.context,
    open: (file) => openFile(shell, file.id),
    lasting: true,
  });
  shelf.show(files);
  const add = h(
    "button",
    {
      type: "button",
      class: "button",
      "aria-haspopup": "menu",
      on: { click: () => chooserMenu(add, (blobs) => shelf.add(blobs)) },
    },
    icon("plus"),
    t("files.add"),
  );
  const section = h(
    "section",
    { class: "drop-here" },
    h("h2", { class: "heading" }, t("project.read"), add),
    h("p", { class: "hint" }, t("project.read.hint")),
    shelf.el,
  );
  listenForDrop(section, (blobs) => shelf.add(blobs));
  return section;
}

function chatSection(chats) {
  const row = (chat) =>
    h(
      "a",
      { class: "row", href: to("chat", chat.id) },
      h("span", {}, chat.title || t("chat.untitled")),
      h("small", { class: "hint" }, date(chat.updated, { dateStyle: "medium" })),
    );
  return h(
    "section",
    {},
    h("h2", { class: "heading" }, t("chats")),
    chats.length ? h("div", { class: "rows" }, chats.map(row)) : h("p", { class: "hint" }, t("project.no.chats")),
  );
}
