// The page begins here: settings, language, who is asking, then the frame and what the address names.
import { ApiError, get, isReachable, onReachable } from "./api.js";
import { ChatView } from "./chat.js";
import { h } from "./dom.js";
import { t, useLanguage } from "./i18n.js";
import { listenForKeys, showKeys } from "./keys.js";
import { askForKey } from "./login.js";
import { mountNotices, notice } from "./notice.js";
import { showProject, showProjects } from "./projects.js";
import { showTutor } from "./tutor.js";
import { Notes } from "./tutor-notes.js";
import { go, onMove, where } from "./router.js";
import { showSearch } from "./search.js";
import { offerToRun } from "./run-code.js";
import { loadSettings, setting } from "./settings.js";
import { openSettings } from "./sheet-settings.js";
import { Shell } from "./shell.js";
import { Sidebar } from "./sidebar.js";

const RETRY_MS = 2000;

/** What the server says of itself and its user; `told` is its first answer, or why there was none. */
async function firstState(page, told) {
  for (;;) {
    if (!(told instanceof Error)) {
      if (!told.needs_key || told.user) return told;
      await askForKey(page);
    } else if (!(told instanceof ApiError)) throw told;
    else if (told.status === 401) await askForKey(page);
    else {
      page.replaceChildren(h("p", { class: "waiting", role: "status" }, told.status ? told.message : t("offline")));
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    told = await get("/state").catch((error) => error);
  }
}

async function start() {
  const page = document.getElementById("page");
  loadSettings();
  const [, first] = await Promise.all([useLanguage(setting("language")), get("/state").catch((error) => error)]);
  mountNotices(document.body);
  offerToRun();
  const state = await firstState(page, first);
  const shell = new Shell(page, { onNew: () => go("new") });
  const sidebar = new Sidebar(shell, { openSettings: () => openSettings(state), user: state.user });
  const notes = new Notes();
  const chat = new ChatView(shell, { state, sidebar, notes });

  function move({ place, id }) {
    shell.closePanel();
    sidebar.draw();
    if (place === "chat") return chat.open(id);
    if (place === "project") return showProject(shell, id, { chat, state });
    chat.fresh();
    if (place === "search") showSearch(shell, id);
    else if (place === "projects") showProjects(shell);
    else if (place === "tutor") showTutor(shell, id, { notes, state, coach: chat.coach });
  }

  listenForKeys({
    new: () => go("new"),
    search: () => go("search"),
    sidebar: () => shell.toggleSidebar(),
    settings: () => void openSettings(state),
    keys: () => void showKeys(),
    escape: () => shell.closeDrawer() || shell.closePanel() || chat.stop(),
    ...chat.keys,
  });
  onReachable((now) => (shell.offline.hidden = now));
  setInterval(() => isReachable() || get("/state").catch(() => {}), RETRY_MS);
  onMove(move);
  const failed = (error) => notice(error.message, { danger: true });
  // Only a lesson waits for what the tutor knows.
  const loaded = notes.load().catch(failed);
  if (["tutor", "chat"].includes(where().place)) await loaded;
  move(where());
  sidebar.load().catch(failed);
}

start();
