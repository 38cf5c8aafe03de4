// What the tutor knows of a learner: subjects, a plan for each, mastery of each topic. Kept on the server, shown, editable.
import { get, patch } from "./api.js";

// Bayesian knowledge tracing: how often somebody who knows slips, who does not know guesses, and learns from a question.
const SLIP = 0.1;
const GUESS = 0.2;
const LEARN = 0.15;
const START = { new: 0.1, some: 0.35, well: 0.6 };
const MASTERED = 0.9;
const DAY = 86_400; // seconds
const MOST_TOPICS = 12;

export class Notes {
  constructor() {
    this.told = { subjects: [], plan: {}, mastery: {} };
  }

  async load() {
    this.told = await get("/tutor");
  }

  async save(changes) {
    this.told = await patch("/tutor", changes);
  }

  get subjects() {
    return this.told.subjects;
  }

  subject(id) {
    return this.subjects.find((one) => one.id === id);
  }

  subjectOfChat(chat) {
    return this.subjects.find((one) => one.chat === chat);
  }

  /** [{topic, known (0 to 1), asked, due}] in the order of the plan. */
  topics(id) {
    const known = this.told.mastery[id] ?? {};
    const start = START[this.subject(id)?.level] ?? START.new;
    return (this.told.plan[id] ?? []).map((topic) => ({ topic, known: start, asked: 0, due: 0, ...known[topic] }));
  }

  begin(subject) {
    return this.save({ subjects: [...this.subjects, subject] });
  }

  change(id, changes) {
    return this.save({ subjects: this.subjects.map((one) => (one.id === id ? { ...one, ...changes } : one)) });
  }

  drop(id) {
    const without = ({ [id]: gone, ...rest }) => rest;
    return this.save({
      subjects: this.subjects.filter((one) => one.id !== id),
      plan: without(this.told.plan),
      mastery: without(this.told.mastery),
    });
  }

  setPlan(id, topics) {
    return this.save({ plan: { ...this.told.plan, [id]: topics } });
  }

  /** Sets what is known of a topic of a subject. */
  set(id, topic, changes) {
    const before = this.topics(id).find((one) => one.topic === topic);
    const { topic: name, ...rest } = { ...before, ...changes };
    return this.save({ mastery: { ...this.told.mastery, [id]: { ...this.told.mastery[id], [name]: rest } } });
  }

  /** After an answer: what is known now, and when the topic comes again. */
  answered(id, topic, right, hints) {
    const { known, asked } = this.topics(id).find((one) => one.topic === topic);
    const now = Date.now() / 1000;
    const after = learned(known, right, hints);
    return this.set(id, topic, { known: after, asked: asked + 1, due: now + DAY * pauseDays(after) });
  }

  /** The topic that is worth asking about next: the first one that is due and not mastered, or the least known. */
  next(id, now = Date.now() / 1000) {
    const topics = this.topics(id);
    return (
      topics.find((one) => one.due <= now && one.known < MASTERED) ?? topics.toSorted((a, b) => a.known - b.known)[0]
    );
  }
}

/** The probability that a topic is known after an answer; one that needed hints proves nothing, but teaches. */
export function learned(known, right, hints = 0) {
  let after = known;
  if (right && !hints) after = (known * (1 - SLIP)) / (known * (1 - SLIP) + (1 - known) * GUESS);
  else if (!right) after = (known * SLIP) / (known * SLIP + (1 - known) * (1 - GUESS));
  return after + (1 - after) * LEARN;
}

function pauseDays(known) {
  return known < 0.5 ? 0 : known < MASTERED ? 1 : 7;
}

/** The topics of a plan out of a reply: the items of its first numbered or dashed list. */
export function planFrom(text) {
  const items = [...text.matchAll(/^\s{0,3}(?:\d{1,2}[.)]|[-*])\s+(.+)$/gm)].map((match) =>
    match[1]
      .replace(/[*_`]/g, "")
      .split(/:\s|\s[–—]\s/)[0]
      .trim(),
  );
  return [...new Set(items.filter(Boolean))].slice(0, MOST_TOPICS);
}

/** Whether a reply judges an answer: true, false, or null where it does not. */
export function verdictOf(text) {
  const sign = /^\s*(?:\*\*)?([✓✔✅✗✘❌])/u.exec(text)?.[1];
  return sign ? "✓✔✅".includes(sign) : null;
}
