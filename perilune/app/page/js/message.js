// One message as it is shown: what was asked, or a reply with its reasoning, text, and what can be done with it.
import { copyText } from "./code.js";
import { clear, fileName, h } from "./dom.js";
import { icon, iconButton } from "./icons.js";
import { t } from "./i18n.js";
import { render } from "./markdown.js";
import { GrowingMarkdown } from "./incremental.js";
import { meterLine, progressBar } from "./meter.js";
import { ReasoningView } from "./reasoning.js";

/** The text of a message's parts. */
export function textOf(message) {
  return message.content
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("\n\n");
}

export class MessageView {
  /** `host` is the chat view: what the buttons do. */
  constructor(message, host) {
    this.message = message;
    this.host = host;
    this.inner = h("div", { class: "inner" });
    this.el = h("article", { class: `message ${message.role}`, tabindex: -1, data: { id: message.id } }, this.inner);
    this.draw();
  }

  update(message) {
    this.message = message;
    this.draw();
  }

  place(index, count) {
    this.el.classList.toggle("first", index === 0);
    this.el.setAttribute("aria-posinset", index + 1);
    this.el.setAttribute("aria-setsize", count);
  }

  draw() {
    this.el.setAttribute("aria-label", t(this.message.role === "user" ? "message.yours" : "message.reply"));
    this.el.classList.toggle("writing", this.message.state === "writing");
    if (this.message.role === "user") this.#drawUser();
    else this.#drawReply();
  }

  /** What has come of a reply so far. */
  grow(reply) {
    this.reasoning.set(reply.reasoning, {
      running: !reply.text && this.message.state === "writing",
      seconds: reply.reasoned,
    });
    clear(this.status, this.#status(reply));
    if (reply.text) this.growing.set(reply.text);
  }

  #status(reply) {
    if (reply.broken) return h("p", { class: "stopped", role: "status" }, t("reply.broken"));
    if (reply.text || this.message.state !== "writing") return null;
    if (reply.progress && reply.progress.read < reply.progress.total) return progressBar(reply.progress);
    return reply.reasoning ? null : pulse();
  }

  #drawUser() {
    const { message, host } = this;
    const files = message.content.filter((part) => part.type === "file");
    const text = textOf(message);
    const actions = h(
      "div",
      { class: "actions-row" },
      this.#branches(),
      host.isLeaf(message.id) && iconButton("redo", t("again"), () => host.reply(message.id), { class: "small" }),
      iconButton("copy", t("copy"), (event) => copyText(text, event.currentTarget), { class: "small" }),
      iconButton("pen", t("edit"), () => this.edit(), { class: "small", "data-act": "edit" }),
    );
    clear(
      this.inner,
      files.length > 0 &&
        h(
          "div",
          { class: "files" },
          files.map((file) => host.fileChip(file)),
        ),
      text && h("div", { class: "bubble", dir: "auto" }, text),
      actions,
    );
  }

  #drawReply() {
    const { message, host } = this;
    this.reasoning ??= new ReasoningView(() => host.answerNow(message.id));
    this.status ??= h("div", { class: "reply-status" });
    this.prose ??= h("div", { class: "prose", dir: "auto" });
    this.growing ??= new GrowingMarkdown(this.prose);
    const text = textOf(message);
    const writing = message.state === "writing";
    if (writing) clear(this.status, pulse());
    else {
      clear(this.status);
      this.reasoning.set(message.reasoning ?? "", {
        running: false,
        seconds: message.meta?.reasoning_seconds,
        alone: !text,
      });
      if (this.growing.text) this.growing.finish(text);
      else clear(this.prose, render(text));
    }
    const end = {
      failed: h(
        "div",
        { class: "failed", role: "alert" },
        message.meta?.error ?? host.faultOf(message.id) ?? t("reply.failed"),
      ),
      stopped: h("p", { class: "stopped" }, t(message.meta?.interrupted ? "reply.interrupted" : "reply.stopped")),
    }[message.state];
    clear(
      this.inner,
      this.reasoning.el,
      this.status,
      this.prose,
      end,
      host.extras(message),
      !writing && this.#replyActions(text),
    );
  }

  #replyActions(text) {
    const { message, host } = this;
    return h(
      "div",
      { class: "actions-row" },
      iconButton("copy", t("copy"), (event) => copyText(text, event.currentTarget), { class: "small" }),
      iconButton("redo", t("again"), () => host.again(message.id), { class: "small", "data-act": "again" }),
      host.replyTools(message),
      this.#branches(),
      meterLine(message.meta?.meter ?? host.meterOf(message.id)),
    );
  }

  #branches() {
    const { all, at } = this.host.branches(this.message.id);
    if (all.length < 2) return null;
    const step = (by, sign, label) =>
      iconButton(sign, label, () => this.host.walk(this.message.id, by), { class: "small", disabled: !all[at + by] });
    return h(
      "span",
      { class: "branches", role: "group", "aria-label": t("branches") },
      step(-1, "left", t("branch.before")),
      t("branch.place", { at: at + 1, of: all.length }),
      step(1, "right", t("branch.after")),
    );
  }

  /** Turns the message into a field; sending makes a new branch. */
  edit() {
    const input = h("textarea", { value: textOf(this.message), "aria-label": t("edit") });
    const cancel = () => (this.draw(), this.el.focus());
    const send = () => {
      const files = this.message.content.filter((part) => part.type === "file");
      if (input.value.trim() || files.length) this.host.edited(this.message.id, input.value.trim(), files);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") cancel();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
      else return;
      event.stopPropagation();
      event.preventDefault();
    });
    const buttons = h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "button", on: { click: cancel } }, t("cancel")),
      h("button", { type: "button", class: "button main", on: { click: send } }, t("send")),
    );
    clear(this.inner, h("div", { class: "edit" }, input, buttons));
    input.focus();
  }
}

function pulse() {
  return h("span", { class: "pulse", role: "status", "aria-label": t("reply.waiting") }, h("i"), h("i"), h("i"));
}

export const SIGNS = {
  text: "file",
  picture: "picture",
  sound: "sound",
  clip: "clipfilm",
  pdf: "file",
  office: "file",
  archive: "archive",
};

/** A file as it stands in a message. */
export function fileChip(file, open) {
  const props = { type: "button", class: "file-chip", title: file.name, on: { click: open } };
  return h("button", props, icon(SIGNS[file.kind] ?? "file"), fileName(file.name));
}
