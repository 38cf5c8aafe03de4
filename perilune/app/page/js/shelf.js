// Files that go with the next message: sent at once, each with what it costs, so that nothing is a surprise later.
import { part, remove, upload } from "./api.js";
import { clear, fileName, h } from "./dom.js";
import { icon, iconButton } from "./icons.js";
import { bytes, t } from "./i18n.js";
import { SIGNS } from "./message.js";
import { notice } from "./notice.js";

const TOGETHER = 3; // files sent at a time
export const MOST_FILES = 250; // parts that one message may have, with room for its text

export class Shelf {
  /** `changed()` when what can be sent has changed; `context` is what the model can hold; `lasting` files are not deleted here. */
  constructor({ changed = () => {}, context = 0, open = () => {}, lasting = false }) {
    Object.assign(this, { changed, context, open, lasting });
    this.items = [];
    this.list = h("ul", { class: "shelf-list", "aria-label": t("files") });
    this.total = h("p", { class: "hint", role: "status" });
    this.el = h("div", { class: "shelf", hidden: true }, this.list, this.total);
  }

  /** Those that the server has. */
  get files() {
    return this.items.filter((item) => item.told).map((item) => item.told);
  }

  get busy() {
    return this.items.some((item) => !item.told && !item.fault);
  }

  get tokens() {
    return this.files.reduce((sum, file) => sum + (file.tokens ?? 0), 0);
  }

  /** blobs: [{name, blob}] */
  add(blobs) {
    const room = MOST_FILES - this.items.length;
    if (blobs.length > room)
      notice(t("files.most", { count: MOST_FILES, left: blobs.length - room }), { danger: true });
    for (const { name, blob } of blobs.slice(0, room))
      this.items.push({ name, blob, share: 0, stopper: new AbortController() });
    this.#draw();
    this.#next();
  }

  /** Files that the server has already. */
  show(files) {
    this.items = files.map((told) => ({ name: told.name, told, share: 1, stopper: new AbortController() }));
    this.#draw();
  }

  clear() {
    this.items = [];
    this.#draw();
  }

  #next() {
    const running = this.items.filter((item) => item.running).length;
    for (const item of this.items.filter((one) => !one.running && !one.told && !one.fault).slice(0, TOGETHER - running))
      this.#send(item);
  }

  async #send(item) {
    item.running = true;
    const sent = (share) => {
      item.share = share;
      item.bar.value = share;
    };
    try {
      item.told = await upload(`/files?name=${part(item.name)}`, item.blob, sent, item.stopper.signal);
    } catch (error) {
      if (error.name !== "AbortError") item.fault = error.status ? error.message : t("offline");
    }
    item.running = false;
    for (const left of item.told?.left_out ?? [])
      notice(t("files.left", { name: left.name, reason: left.reason }), { danger: true });
    if (!this.items.includes(item)) return;
    this.#draw();
    this.#next();
  }

  #remove(item) {
    item.stopper.abort();
    // What was sent but not used is deleted on the server, too; if that fails it leaves by itself later.
    if (item.told && !this.lasting) remove(`/files/${part(item.told.id)}`).catch(() => {});
    const at = this.items.indexOf(item);
    this.items.splice(at, 1);
    this.#draw();
    this.#next();
    this.list.querySelectorAll(".icon-button")[Math.min(at, this.items.length - 1)]?.focus();
  }

  #draw() {
    clear(
      this.list,
      this.items.map((item) => this.#chip(item)),
    );
    this.el.hidden = this.items.length === 0;
    const over = this.context && this.tokens > this.context;
    this.total.textContent = this.files.length
      ? t(over ? "files.over" : "files.total", { tokens: this.tokens, context: this.context })
      : "";
    this.total.classList.toggle("fault", Boolean(over));
    this.changed();
  }

  #chip(item) {
    const { told, fault } = item;
    const away = iconButton("close", t("files.remove", { name: item.name }), () => this.#remove(item), {
      class: "small",
    });
    const name = told
      ? fileName(item.name, "button", { type: "button", title: item.name, on: { click: () => this.open(told) } })
      : fileName(item.name, "span", { title: item.name });
    item.bar = h("progress", { max: 1, value: item.share, "aria-label": t("files.sending", { name: item.name }) });
    const line =
      fault || told?.problem
        ? h("span", { class: "fault" }, fault ?? told.problem)
        : told
          ? h("span", { class: "hint" }, costOf(told))
          : item.bar;
    return h("li", { class: "shelf-item" }, icon(SIGNS[told?.kind] ?? "file"), h("div", {}, name, line), away);
  }
}

/** "1,234 tokens · read before", and the size where tokens are not known. */
export function costOf(file) {
  const cost = file.tokens == null ? bytes(file.bytes) : t("files.tokens", { count: file.tokens });
  return file.stored ? `${cost} · ${t("files.stored")}` : cost;
}
