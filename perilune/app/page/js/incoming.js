// Ways in for files: chosen, dropped (folders, too), pasted.
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { showMenu } from "./menu.js";

const LONG_TEXT = 20_000; // characters; a longer text that is pasted becomes a file
const MOST_WALKED = 2000; // files found in dropped folders
const SKIPPED = /^(\.git|node_modules|__pycache__|\.venv|\.DS_Store)$/;

const named = (files) => [...files].map((blob) => ({ name: blob.webkitRelativePath || blob.name, blob }));

/** Opens the browser's own chooser. */
export function choose(add, { folder = false } = {}) {
  const input = h("input", {
    type: "file",
    multiple: true,
    hidden: true,
    webkitdirectory: folder,
    on: { change: () => (add(chosen(input.files, folder)), input.remove()) },
  });
  document.body.append(input);
  input.click();
}

export function chooserMenu(button, add) {
  showMenu(button, [
    { icon: "file", label: t("files.choose"), run: () => choose(add) },
    { icon: "folder", label: t("files.folder"), run: () => choose(add, { folder: true }) },
  ]);
}

const kept = ({ name }) => !name.split("/").some((piece) => SKIPPED.test(piece));
const byName = (a, b) => (a.name < b.name ? -1 : 1);

/** Files of a folder come in any order. */
function chosen(files, folder) {
  const found = named(files).filter(kept);
  return folder ? found.sort(byName) : found;
}

export function listenForPaste(input, add) {
  input.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    const text = event.clipboardData.getData("text/plain");
    if (files.length) add(named(files));
    else if (text.length > LONG_TEXT)
      add([{ name: t("files.pasted"), blob: new Blob([text], { type: "text/plain" }) }]);
    else return;
    event.preventDefault();
  });
}

/** Files may be dropped anywhere on an element; a veil says so. */
export function listenForDrop(target, add) {
  const veil = h("div", { class: "drop-veil", hidden: true }, icon("load"), t("files.drop"));
  target.append(veil);
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  target.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  target.addEventListener("dragleave", (event) => {
    if (!target.contains(event.relatedTarget)) veil.hidden = true;
  });
  target.addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    veil.hidden = true;
    // Entries have to be asked for before anything is awaited.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = named(event.dataTransfer.files);
    add(entries.some((entry) => entry.isDirectory) ? await walked(entries) : files);
  });
}

/** All files below entries, in the order of their names. */
async function walked(entries) {
  const found = [];
  const waiting = [...entries];
  while (waiting.length && found.length < MOST_WALKED) {
    const entry = waiting.shift();
    if (SKIPPED.test(entry.name)) continue;
    if (entry.isFile) {
      const blob = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (blob) found.push({ name: entry.fullPath.replace(/^\//, ""), blob });
    } else {
      const reader = entry.createReader();
      for (let more = [null]; more.length;) {
        more = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
        waiting.push(...more);
      }
    }
  }
  return found.sort(byName);
}
