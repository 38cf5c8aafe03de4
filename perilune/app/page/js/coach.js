// A lesson inside a chat: what the model is told, the buttons above the composer, and what an answer says of mastery.
import { clear, h } from "./dom.js";
import { icon } from "./icons.js";
import { number, t } from "./i18n.js";
import { notice } from "./notice.js";
import { go, to } from "./router.js";
import { planFrom, verdictOf } from "./tutor-notes.js";

const MOST_HINTS = 3;

export class Coach {
  constructor(notes, chat) {
    this.notes = notes;
    this.chat = chat;
    this.lesson = null; // {subject, topic, hints, waits: "plan" | "question" | "verdict" | null}
    this.bar = h("div", { class: "coach", role: "toolbar", "aria-label": t("tutor"), hidden: true });
  }

  /** Called when a chat is opened: a lesson's chat has a bar. */
  opened(chat) {
    const subject = chat && this.notes.subjectOfChat(chat.id);
    if (!subject) this.lesson = null;
    else if (this.lesson?.subject.id !== subject.id)
      this.lesson = { subject, topic: this.notes.next(subject.id)?.topic ?? null, hints: 0, waits: null };
    this.#draw();
  }

  async plan(subject) {
    await this.#enter(subject, null);
    this.lesson.waits = "plan";
    await this.#say(
      t("tutor.ask.plan", { subject: subject.title, level: t(`tutor.level.${subject.level}`) }),
      subject.files,
    );
  }

  async practise(subject, topic) {
    await this.#enter(subject, topic);
    await this.#question();
  }

  /** What the model is told in a lesson, besides what the user set. */
  system(chat) {
    const subject = this.notes.subjectOfChat(chat);
    if (!subject) return "";
    const topics = this.notes
      .topics(subject.id)
      .map(({ topic, known }) => `${topic} (${number(known, { style: "percent" })})`);
    return t("tutor.policy", {
      subject: subject.title,
      level: t(`tutor.level.${subject.level}`),
      topics: topics.join(", ") || "–",
    });
  }

  /** The learner wrote something: after a question that is an answer. */
  wrote() {
    if (this.lesson?.topic && this.lesson.waits === "answer") this.lesson.waits = "verdict";
  }

  /** A reply has ended. */
  async replied(text) {
    const { lesson } = this;
    if (!lesson) return;
    const { waits, subject } = lesson;
    if (waits === "plan") {
      lesson.waits = null;
      const topics = planFrom(text);
      if (topics.length < 2)
        return void notice(t("tutor.plan.none"), { action: t("tutor.plan.edit"), run: () => go("tutor", subject.id) });
      await this.notes.setPlan(subject.id, topics);
      lesson.topic = topics[0];
      notice(t("tutor.plan.made", { count: topics.length }), { action: t("open"), run: () => go("tutor", subject.id) });
    } else if (waits === "question") lesson.waits = "answer";
    else if (waits === "verdict") {
      const right = verdictOf(text);
      lesson.waits = "answer";
      if (right !== null) await this.#judge(right);
    }
    this.#draw();
  }

  async #enter(subject, topic) {
    if (this.chat.chat?.id !== subject.chat) {
      go("chat", subject.chat);
      await this.chat.opened(subject.chat);
    }
    this.lesson = { subject, topic, hints: 0, waits: null };
    this.#draw();
  }

  #question() {
    Object.assign(this.lesson, { hints: 0, waits: "question" });
    const known = this.notes.topics(this.lesson.subject.id).find((one) => one.topic === this.lesson.topic)?.known ?? 0;
    return this.#say(
      t("tutor.ask.question", {
        topic: this.lesson.topic,
        share: number(known, { style: "percent", maximumFractionDigits: 0 }),
      }),
    );
  }

  #hint() {
    this.lesson.hints += 1;
    this.#draw();
    return this.#say(t("tutor.ask.hint", { at: this.lesson.hints, of: MOST_HINTS }));
  }

  #tell() {
    this.lesson.hints = MOST_HINTS;
    return this.#say(t("tutor.ask.answer"));
  }

  async #judge(right) {
    const { subject, topic, hints } = this.lesson;
    const of = () => this.notes.topics(subject.id).find((one) => one.topic === topic).known;
    const before = of();
    await this.notes.answered(subject.id, topic, right, hints);
    const share = (value) => number(value, { style: "percent", maximumFractionDigits: 0 });
    notice(t("tutor.moved", { topic, before: share(before), after: share(of()) }));
    this.lesson.waits = null;
    this.#draw();
  }

  #say(text, files = []) {
    return this.chat.say(text, files);
  }

  #draw() {
    const { lesson } = this;
    this.bar.hidden = !lesson;
    if (!lesson) return;
    const button = (label, click, props = {}) =>
      h("button", { type: "button", class: "chip", on: { click }, ...props }, label);
    const home = h(
      "a",
      { class: "chip", href: to("tutor", lesson.subject.id) },
      icon("tutor"),
      lesson.topic ?? lesson.subject.title,
    );
    const next = () => {
      lesson.topic = this.notes.next(lesson.subject.id).topic;
      this.#question();
    };
    const asked = lesson.waits === "answer" || lesson.waits === "verdict";
    clear(
      this.bar,
      home,
      asked &&
        button(t("tutor.hint", { at: lesson.hints, of: MOST_HINTS }), () => this.#hint(), {
          disabled: lesson.hints >= MOST_HINTS,
        }),
      asked && button(t("tutor.tell"), () => this.#tell()),
      asked && button(t("tutor.knew"), () => this.#judge(true)),
      asked && button(t("tutor.not.yet"), () => this.#judge(false)),
      lesson.topic && button(t("tutor.next"), next),
    );
  }
}
