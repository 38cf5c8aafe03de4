// A file beside the chat, opened at its lines. Of a text only the lines near the screen are fetched and exist.
import { address, get, part } from "./api.js";
import { clear, h, perFrame } from "./dom.js";
import { iconButton } from "./icons.js";
import { t } from "./i18n.js";
import { notice } from "./notice.js";
import { costOf } from "./shelf.js";

const LINE_PX = 22;
const CHUNK = 400; // lines fetched at a time
const AHEAD = 40; // lines rendered beyond the screen
const KEPT = 50; // chunks
const TALLEST_PX = 12_000_000; // browsers lose count beyond; longer files are scrolled in proportion

/** Opens a file in the panel: `place` is {lines: [first, last], name} of a citation. */
export async function openFile(shell, id, place = {}) {
  let file;
  try {
    file = await get(`/files/${part(id)}`);
  } catch (error) {
    return notice(error.message, { danger: true });
  }
  const save = iconButton("save", t("download"), () =>
    h("a", { href: address(`/files/${part(id)}/content`), download: file.name.split("/").pop() }).click(),
  );
  shell.openPanel(
    file.name,
    h("div", { class: "file-view" }, h("p", { class: "hint about" }, costOf(file)), await content(file, place)),
    { actions: [save] },
  );
}

async function content(file, place) {
  const source = address(`/files/${part(file.id)}/content`);
  if (file.kind === "picture") return h("div", { class: "media" }, h("img", { src: source, alt: file.name }));
  if (file.kind === "sound") return h("div", { class: "media" }, h("audio", { src: source, controls: true }));
  if (file.kind === "clip") return h("div", { class: "media" }, h("video", { src: source, controls: true }));
  const parts = file.parts ?? [];
  if (!parts.length) return h("p", { class: "hint about" }, file.problem ?? t("file.empty"));
  if (parts.length < 2) return new TextView(file.id, parts[0].name, place.lines).el;
  const at = Math.max(
    0,
    parts.findIndex((one) => one.name === place.name),
  );
  const box = h("div", { class: "text-box" }, new TextView(file.id, parts[at].name, place.lines).el);
  const pick = h(
    "select",
    { "aria-label": t("file.part"), on: { change: () => clear(box, new TextView(file.id, pick.value).el) } },
    parts.map((one) => h("option", { value: one.name }, one.name)),
  );
  pick.selectedIndex = at;
  return h("div", { class: "with-parts" }, pick, box);
}

export class TextView {
  constructor(id, name, lines = null) {
    this.path = `/files/${part(id)}/text?part=${part(name)}`;
    this.lines = lines;
    this.total = 0;
    this.chunks = new Map();
    this.sheet = h("div", { class: "lines" });
    this.el = h("div", { class: "text-view", tabindex: 0, role: "region", "aria-label": t("file.text") }, this.sheet);
    this.draw = perFrame(() => this.#draw());
    this.el.addEventListener("scroll", this.draw, { passive: true });
    this.observer = new ResizeObserver(this.draw);
    this.observer.observe(this.el);
    this.#begin();
  }

  async #begin() {
    await this.#fetch(Math.floor(((this.lines?.[0] ?? 1) - 1) / CHUNK));
    this.height = Math.min(this.total * LINE_PX, TALLEST_PX);
    this.sheet.style.height = `${this.height}px`;
    this.sheet.style.setProperty("--digits", String(this.total).length);
    if (this.lines) this.#goTo(this.lines[0] - 1);
    this.#draw();
  }

  #goTo(line) {
    const room = Math.floor(this.el.clientHeight / LINE_PX / 3);
    this.el.scrollTop = (Math.max(0, line - room) / this.total) * this.total * LINE_PX * this.#scale();
  }

  /** Pixels of the sheet for a pixel of text; less than 1 only for files that are too tall. */
  #scale() {
    return this.height / (this.total * LINE_PX);
  }

  #draw() {
    if (!this.total) return;
    const { scrollTop, clientHeight } = this.el;
    const top = Math.floor(scrollTop / this.#scale() / LINE_PX);
    const first = Math.max(0, top - AHEAD);
    const last = Math.min(this.total, top + Math.ceil(clientHeight / LINE_PX) + AHEAD);
    const shift = scrollTop - (scrollTop / this.#scale() - first * LINE_PX);
    const rows = [];
    for (let line = first; line < last; line += 1) {
      const chunk = this.chunks.get(Math.floor(line / CHUNK));
      if (!chunk) this.#fetch(Math.floor(line / CHUNK)).then(this.draw);
      const hit = this.lines && line + 1 >= this.lines[0] && line + 1 <= this.lines[1];
      rows.push(
        h(
          "div",
          { class: hit ? "line hit" : "line" },
          h("i", { "data-n": line + 1 }),
          h("span", {}, chunk?.[line % CHUNK] ?? ""),
        ),
      );
    }
    const block = h("div", { class: "block" }, rows);
    block.style.transform = `translateY(${shift}px)`;
    clear(this.sheet, block);
  }

  async #fetch(index) {
    if (this.chunks.has(index)) return;
    this.chunks.set(index, null);
    try {
      const { lines, total } = await get(`${this.path}&from=${index * CHUNK + 1}&to=${(index + 1) * CHUNK}`);
      this.total = total;
      this.chunks.set(index, lines);
      for (const old of this.chunks.keys()) if (this.chunks.size > KEPT && old !== index) this.chunks.delete(old);
    } catch (error) {
      clear(this.sheet, h("p", { class: "fault" }, error.message));
    }
  }
}
