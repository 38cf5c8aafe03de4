// The tutor: choose a subject or a file, get a plan, be asked at the right level, with hints before answers.
import { post } from "./api.js";
import { confirm } from "./dialog.js";
import { clear, h } from "./dom.js";
import { icon, iconButton } from "./icons.js";
import { number, t } from "./i18n.js";
import { chooserMenu } from "./incoming.js";
import { notice } from "./notice.js";
import { go, to } from "./router.js";
import { Shelf } from "./shelf.js";

const LEVELS = ["new", "some", "well"];
const percent = (share) => number(share, { style: "percent", maximumFractionDigits: 0 });
const told = (error) => notice(error.status ? error.message : t("offline"), { danger: true });

export function showTutor(shell, id, { notes, state, coach }) {
  const subject = notes.subject(id);
  shell.setTitle(subject ? subject.title : t("tutor"));
  shell.setActions(subject && dropButton(notes, subject));
  shell.show(h("div", { class: "page" }, subject ? subjectPage(notes, subject, coach) : startPage(notes, state)));
}

function startPage(notes, state) {
  const shelf = new Shelf({ context: state.model.context });
  const title = h("input", { type: "text", maxlength: 200, required: true, placeholder: t("tutor.subject.hint") });
  const level = h(
    "select",
    {},
    LEVELS.map((one) => h("option", { value: one }, t(`tutor.level.${one}`))),
  );
  const add = h(
    "button",
    {
      type: "button",
      class: "button",
      "aria-haspopup": "menu",
      on: { click: () => chooserMenu(add, (files) => shelf.add(files)) },
    },
    icon("clip"),
    t("files.add"),
  );
  const begin = async (event) => {
    event.preventDefault();
    if (shelf.busy) return;
    try {
      const chat = await post("/chats", { title: title.value.trim() });
      const id = chat.id;
      await notes.begin({
        id,
        title: title.value.trim(),
        level: level.value,
        chat: chat.id,
        files: shelf.files.map((file) => file.id),
      });
      go("tutor", id);
    } catch (error) {
      told(error);
    }
  };
  const form = h(
    "form",
    { class: "stack tutor-form", on: { submit: begin } },
    h("p", { class: "lead" }, t("tutor.lead")),
    h(
      "div",
      { class: "pair" },
      h("label", { class: "field" }, h("span", {}, t("tutor.subject")), title),
      h("label", { class: "field" }, h("span", {}, t("tutor.level")), level),
    ),
    shelf.el,
    h("div", { class: "actions start" }, h("button", { class: "button main" }, t("tutor.begin")), add),
  );
  const card = (subject) => {
    const topics = notes.topics(subject.id);
    const known = topics.length ? topics.reduce((sum, one) => sum + one.known, 0) / topics.length : 0;
    return h(
      "a",
      { class: "card", href: to("tutor", subject.id) },
      icon("tutor"),
      h("b", {}, subject.title),
      h("p", {}, topics.length ? topics.map((one) => one.topic).join(", ") : t("tutor.no.plan")),
      h("small", {}, t("tutor.known", { share: percent(known) })),
    );
  };
  return h(
    "div",
    { class: "column stack" },
    form,
    notes.subjects.length > 0 &&
      h(
        "section",
        {},
        h("h2", { class: "heading" }, t("tutor.subjects")),
        h("div", { class: "cards" }, notes.subjects.map(card)),
      ),
  );
}

function subjectPage(notes, subject, coach) {
  const page = h("div", { class: "column stack" });
  const draw = () => {
    const topics = notes.topics(subject.id);
    const act = topics.length
      ? h(
          "button",
          {
            type: "button",
            class: "button main",
            on: { click: () => coach.practise(subject, notes.next(subject.id).topic) },
          },
          icon("run"),
          t("tutor.practise"),
        )
      : h(
          "button",
          { type: "button", class: "button main", on: { click: () => coach.plan(subject) } },
          icon("think"),
          t("tutor.make.plan"),
        );
    const open = h("a", { class: "button", href: to("chat", subject.chat) }, t("tutor.chat"));
    clear(
      page,
      h("div", { class: "actions start" }, act, open),
      topics.length > 0 && topicList(notes, subject, topics, coach),
      planField(notes, subject, topics, draw),
    );
  };
  draw();
  return page;
}

function topicList(notes, subject, topics, coach) {
  const row = ({ topic, known, asked }) => {
    const share = h("output", {}, percent(known));
    const slider = h("input", {
      type: "range",
      min: 0,
      max: 100,
      value: Math.round(known * 100),
      "aria-label": t("tutor.mastery", { topic }),
    });
    slider.addEventListener("input", () => (share.textContent = percent(slider.value / 100)));
    slider.addEventListener("change", () => notes.set(subject.id, topic, { known: slider.value / 100 }).catch(told));
    return h(
      "li",
      {},
      h("b", {}, topic),
      h("small", {}, t("tutor.asked", { count: asked })),
      slider,
      share,
      iconButton("run", t("tutor.practise.topic", { topic }), () => coach.practise(subject, topic), { class: "small" }),
    );
  };
  return h(
    "section",
    {},
    h("h2", { class: "heading" }, t("tutor.plan")),
    h("p", { class: "hint" }, t("tutor.mastery.hint")),
    h("ul", { class: "topics" }, topics.map(row)),
  );
}

/** The plan as text, a topic a line: it is the learner's own. */
function planField(notes, subject, topics, draw) {
  const input = h("textarea", {
    rows: Math.max(3, topics.length),
    value: topics.map((one) => one.topic).join("\n"),
    placeholder: t("tutor.plan.hint"),
  });
  const save = async () => {
    const lines = [
      ...new Set(
        input.value
          .split("\n")
          .map((line) => line.trim())
          .filter(Boolean),
      ),
    ];
    await notes.setPlan(subject.id, lines).then(draw, told);
  };
  const button = h("button", { type: "button", class: "button", on: { click: save } }, t("save"));
  return h(
    "details",
    { open: !topics.length },
    h("summary", {}, t("tutor.plan.edit")),
    h("label", { class: "field" }, h("span", { class: "unseen" }, t("tutor.plan")), input),
    h("div", { class: "actions" }, button),
  );
}

function dropButton(notes, subject) {
  const drop = async () => {
    if (!(await confirm(t("tutor.delete"), t("tutor.delete.sure", { title: subject.title }), t("delete")))) return;
    await notes.drop(subject.id).then(() => go("tutor"), told);
  };
  return iconButton("trash", t("delete"), drop);
}
