// The keyboard in a chat: from message to message, and what can be done with the one that has the focus.

/** The actions of the keyboard map that belong to a chat view. */
export function messageKeys(chat) {
  return {
    compose: () => chat.composer.focus(),
    previous: () => step(chat, -1),
    next: () => step(chat, 1),
    edit: () => press(chat, "edit"),
    again: () => press(chat, "again"),
    branchBefore: () => walk(chat, -1),
    branchAfter: () => walk(chat, 1),
    answer: () => chat.writing()?.answerNow() ?? false,
  };
}

export function focusMessage(chat, id) {
  const el = chat.list.shown.get(id) ?? chat.list.reveal(id);
  el?.focus({ preventScroll: true });
  el?.scrollIntoView({ block: "nearest" });
}

const focused = () => document.activeElement?.closest(".message")?.dataset.id;

function step(chat, by) {
  const path = chat.tree.path();
  if (!path.length) return false;
  const here = path.findIndex((message) => message.id === focused());
  const to = here < 0 ? (by < 0 ? path.length - 1 : path.length) : here + by;
  if (to >= path.length) return chat.composer.focus();
  focusMessage(chat, path[Math.max(0, to)].id);
}

/** Presses a button of the focused message, or of the last one that has it. */
function press(chat, name) {
  const id = focused();
  const kind = name === "edit" ? "user" : "assistant";
  const wanted = chat.tree.path().findLast((message) => (id ? message.id === id : message.role === kind));
  const button = chat.views.get(wanted?.id)?.el.querySelector(`[data-act="${name}"]`);
  button?.click();
  return Boolean(button);
}

function walk(chat, by) {
  const id = focused();
  return id ? chat.walk(id, by) : false;
}
