// The conversation: what is shown of a chat, and what a user does in it.
import { get, part, patch, post } from "./api.js";
import { citationList } from "./citations.js";
import { Coach } from "./coach.js";
import { focusMessage, messageKeys } from "./chat-keys.js";
import { attachButton, Composer } from "./composer.js";
import { h } from "./dom.js";
import { iconButton } from "./icons.js";
import { choose, chooserMenu, listenForDrop, listenForPaste } from "./incoming.js";
import { t } from "./i18n.js";
import { VirtualList } from "./list.js";
import { showMenu } from "./menu.js";
import { microphoneButton } from "./microphone.js";
import { fileChip, MessageView, textOf } from "./message.js";
import { MindPanel } from "./mind.js";
import { announce, notice, Speaker } from "./notice.js";
import { Reply } from "./reply.js";
import { go, where } from "./router.js";
import { change, setting } from "./settings.js";
import { Shelf } from "./shelf.js";
import { chatActions, newChat } from "./sidebar.js";
import { Tree } from "./tree.js";
import { openFile } from "./viewer.js";
import { startChip, welcome } from "./welcome.js";

const ALTERNATIVES = 5; // shown of each token
const VIEWS_KEPT = 300; // messages whose elements are kept when they leave the screen

export class ChatView {
  constructor(shell, { state, sidebar, notes }) {
    Object.assign(this, { shell, state, sidebar });
    this.coach = new Coach(notes, this);
    this.views = new Map();
    this.replies = new Map();
    this.chat = null;
    this.project = null;
    this.tree = new Tree();
    this.body = h("div", { class: "messages", role: "feed", "aria-label": t("messages") });
    this.scroller = h("div", { class: "scroller", tabindex: -1 }, this.body);
    this.toEnd = iconButton("down", t("to.end"), () => this.list.scrollToEnd(), { class: "to-end", hidden: true });
    this.stage = h("div", { class: "stage" }, this.scroller, this.toEnd);
    this.list = new VirtualList(this.scroller, this.body, {
      render: (message, index) => this.#view(message, index).el,
      key: (message) => message.id,
      guess: (message) => 90 + textOf(message).length * 0.35,
      onEnd: (end) => (this.toEnd.hidden = end || !this.tree.nodes.size),
    });
    const open = (file) => openFile(shell, file.id);
    this.shelf = new Shelf({ changed: () => this.composer?.redraw(), context: state.model.context, open });
    const add = (files) => this.shelf.add(files);
    const attach = attachButton(() => chooserMenu(attach, add));
    this.composer = new Composer({
      send: (draft) => this.#send(draft),
      stop: () => this.stop(),
      thinks: () => this.#thinks(),
      tools: [attach, state.model.hears && microphoneButton(add)].filter(Boolean),
      shelf: this.shelf,
    });
    listenForPaste(this.composer.input, add);
    listenForDrop(shell.main, add);
    this.chooseFiles = () => choose(add);
    this.keys = messageKeys(this);
  }

  /** An empty chat, which exists on the server only when something was said. */
  fresh(project = null, content = null) {
    this.#leave();
    this.project = project;
    this.coach.opened(null);
    this.shell.setTitle("");
    this.shell.setActions();
    const greeting = () =>
      welcome(this.state, {
        starts: [startChip("clip", t("start.files"), () => this.chooseFiles())],
        start: (text) => ((this.composer.text = text), this.composer.focus()),
      });
    this.shell.show(content ?? greeting(), this.composer.el);
    this.composer.setWriting(false);
    this.composer.ready();
  }

  /** Shows a chat; resolves when it is there. */
  open(id) {
    if (this.chat?.id !== id) this.opening = this.#open(id);
    return this.opening;
  }

  /** Resolves when the chat that the address names is shown. */
  async opened(id) {
    await new Promise((resolve) => setTimeout(resolve));
    return this.open(id);
  }

  /** Says something in the user's name, as a button of a lesson does. */
  async say(text, files = []) {
    const said = await this.#say(this.tree.leaf, text, files);
    if (said) await this.reply(said.id);
  }

  async #open(id) {
    this.#leave();
    let chat;
    try {
      chat = await get(`/chats/${part(id)}`);
    } catch (error) {
      notice(error.message, { danger: true });
      return go("new");
    }
    if (where().id !== id) return;
    this.#show(chat, chat.messages, chat.leaf);
    for (const message of chat.messages) if (message.state === "writing") this.#follow(message);
    this.list.scrollToEnd();
    this.composer.ready();
  }

  stop() {
    const reply = this.writing();
    if (!reply) return false;
    reply.stop().catch((error) => notice(error.message, { danger: true }));
    return true;
  }

  // What messages ask of their chat.

  isLeaf(id) {
    return this.tree.leaf === id;
  }

  branches(id) {
    return this.tree.branches(id);
  }

  walk(id, by) {
    const { all, at } = this.tree.branches(id);
    if (!all[at + by]) return false;
    this.tree.leaf = this.tree.leafUnder(all[at + by]);
    patch(`/chats/${part(this.chat.id)}`, { leaf: this.tree.leaf }).catch((error) =>
      notice(error.message, { danger: true }),
    );
    this.#draw();
    focusMessage(this, all[at + by]);
    announce(t("branch.place", { at: at + by + 1, of: all.length }));
    return true;
  }

  async edited(id, text, files) {
    const said = await this.#say(
      this.tree.nodes.get(id).parent ?? null,
      text,
      files.map((one) => one.file),
    );
    if (said) await this.reply(said.id);
  }

  again(id) {
    return this.reply(this.tree.nodes.get(id).parent);
  }

  /** Asks for a reply to a message of the user's. */
  async reply(parent) {
    const asked = { parent };
    for (const name of ["thinking", "temperature", "top_p", "max_tokens"])
      if (setting(name) !== null) asked[name] = setting(name);
    const system = [setting("system"), this.coach.system(this.chat.id)].filter(Boolean).join("\n\n");
    if (system) asked.system = system;
    if (setting("mind")) Object.assign(asked, { alternatives: ALTERNATIVES, routing: true });
    try {
      const message = await post(`/chats/${part(this.chat.id)}/replies`, asked);
      this.tree.add(message);
      this.tree.leaf = message.id;
      this.#follow(message);
      this.#draw();
      this.list.scrollToEnd();
      if (setting("mind") && matchMedia("(min-width: 75rem)").matches) this.#openMind(message.id, { quiet: true });
    } catch (error) {
      notice(error.status ? error.message : t("offline"), { danger: true });
    }
  }

  answerNow(id) {
    this.replies
      .get(id)
      ?.answerNow()
      .catch((error) => notice(error.message, { danger: true }));
  }

  faultOf(id) {
    return this.replies.get(id)?.fault;
  }

  meterOf(id) {
    return this.replies.get(id)?.meter;
  }

  fileChip(file) {
    return fileChip(file, () => openFile(this.shell, file.file));
  }

  /** What stands below the text of a reply. */
  extras(message) {
    const citations = this.replies.get(message.id)?.citations;
    return citationList(citations?.length ? citations : message.meta?.citations, (one) =>
      openFile(this.shell, one.file, one),
    );
  }

  replyTools(message) {
    return iconButton("mind", t("mind"), () => this.#openMind(message.id), { class: "small" });
  }

  // The chat itself.

  /** What the user chose, or else what the server does: it answers from what was read without reasoning. */
  #thinks() {
    if (setting("thinking") !== null || !this.state.model.reads) return setting("thinking") ?? true;
    const files = this.tree.path().some((message) => message.content.some((part) => part.type === "file"));
    return !files && !this.shelf.files.length && !this.project && !this.chat?.project;
  }

  #show(chat, messages, leaf) {
    this.chat = chat;
    this.coach.opened(chat);
    this.tree = new Tree(messages, leaf);
    this.shell.setTitle(chat.title || t("chat.untitled"));
    const more = iconButton(
      "more",
      t("chat.actions", { title: chat.title || t("chat.untitled") }),
      () => {
        const changed = (now) => (Object.assign(chat, now), this.shell.setTitle(chat.title), this.sidebar.load());
        showMenu(more, chatActions(chat, { changed, gone: () => (go("new"), this.sidebar.load()) }));
      },
      { "aria-haspopup": "menu", "aria-expanded": "false" },
    );
    this.shell.setActions(more);
    this.shell.show(this.stage, this.coach.bar, this.composer.el);
    this.#draw();
  }

  async #send({ text, files }) {
    try {
      const fresh = !this.chat;
      if (fresh) {
        const chat = await newChat(this.project, text);
        go("chat", chat.id, { replace: true });
        this.#show(chat, [], null);
      }
      const said = await this.#say(
        this.tree.leaf,
        text,
        files.map((file) => file.id),
      );
      if (!said) return false;
      this.composer.text = "";
      this.coach.wrote();
      await this.reply(said.id);
      if (fresh) {
        await this.sidebar.load();
        const title = this.sidebar.chats.find((one) => one.id === this.chat?.id)?.title;
        if (title) this.shell.setTitle((this.chat.title = title));
      } else this.sidebar.touch(this.chat);
      return true;
    } catch (error) {
      notice(error.status ? error.message : t("offline"), { danger: true });
      return false;
    }
  }

  async #say(parent, text, files) {
    const content = files.map((file) => ({ type: "file", file }));
    if (text) content.push({ type: "text", text });
    try {
      const message = await post(`/chats/${part(this.chat.id)}/messages`, { parent, content });
      this.tree.add(message);
      this.tree.leaf = message.id;
      this.#draw();
      this.list.scrollToEnd();
      return message;
    } catch (error) {
      notice(error.status ? error.message : t("offline"), { danger: true });
      return null;
    }
  }

  #follow(message) {
    const speaker = new Speaker();
    const reply = new Reply(message, {
      changed: () => {
        this.views.get(message.id)?.grow(reply);
        speaker.tell(reply.text);
        if (this.mind?.id === message.id && this.mind.panel.isOpen) this.mind.panel.set(reply.tokens, reply.meter);
      },
      ended: () => {
        this.tree.add(reply.message);
        speaker.tell(reply.text, true);
        this.views.get(message.id)?.update(this.tree.nodes.get(message.id));
        this.composer.setWriting(Boolean(this.writing()));
        if (reply.message.state === "done")
          this.coach.replied(textOf(reply.message)).catch((error) => notice(error.message, { danger: true }));
      },
    });
    this.replies.set(message.id, reply);
    this.composer.setWriting(true);
    reply.run();
  }

  /** `quiet` leaves the focus where it is: nobody asked for the panel just now. */
  #openMind(id, { quiet = false } = {}) {
    const again = () => {
      change("mind", true);
      this.shell.closePanel();
      this.again(id);
    };
    const panel = new MindPanel(this.shell, { again, quiet });
    const reply = this.replies.get(id);
    this.mind = { id, panel };
    if (reply?.tokens.length) panel.set(reply.tokens, reply.meter);
    else if (!reply) panel.load(id).catch((error) => notice(error.message, { danger: true }));
  }

  /** The reply that is being written on the branch that is shown. */
  writing() {
    const found = this.tree.path().findLast((message) => message.state === "writing");
    return found && this.replies.get(found.id);
  }

  #leave() {
    for (const reply of this.replies.values()) reply.leave();
    this.replies.clear();
    this.views.clear();
    this.chat = null;
    this.tree = new Tree();
    this.list.known.clear();
    this.list.setItems([]);
  }

  #draw() {
    const path = this.tree.path();
    // Which branches there are, and which message is the last, changes with every draw.
    for (const message of path) this.views.get(message.id)?.message.state !== "writing" && this.#stale(message);
    this.list.setItems(path);
    this.composer.setWriting(Boolean(this.writing()));
  }

  #stale(message) {
    const view = this.views.get(message.id);
    if (!view) return;
    const mark = JSON.stringify([this.tree.branches(message.id), this.isLeaf(message.id)]);
    if (view.mark !== mark) view.draw();
    view.mark = mark;
  }

  #view(message, index) {
    let view = this.views.get(message.id);
    if (!view) {
      view = new MessageView(message, this);
      const reply = this.replies.get(message.id);
      if (reply && message.state === "writing") view.grow(reply);
      this.views.set(message.id, view);
      for (const id of this.views.keys()) {
        if (this.views.size <= VIEWS_KEPT) break;
        if (!this.list.shown.has(id)) this.views.delete(id);
      }
    }
    view.place(index, this.list.items.length);
    return view;
  }
}
