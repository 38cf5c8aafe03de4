// Elements without markup: text is always text, so nothing that a model or a file says can become an element.

/** h("button", {class: "x", on: {click}, title: "…"}, "text", child): null and false children are left out. */
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) el.addEventListener(event, run);
    else if (name === "data") Object.assign(el.dataset, value);
    else if (name === "class") el.className = value;
    else if (name === "value" || name === "checked" || name === "disabled") el[name] = value;
    else el.setAttribute(name, value === true ? "" : String(value));
  }
  el.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return el;
}

export function clear(el, ...children) {
  el.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return el;
}

/** The name of a file with its folders: where there is no room for all of it, the folders give way first. */
export function fileName(name, tag = "span", props = {}) {
  const cut = name.lastIndexOf("/") + 1;
  const folders = cut > 0 && h("span", { class: "folders" }, name.slice(0, cut));
  return h(tag, { ...props, class: "name" }, folders, h("span", { class: "base" }, name.slice(cut)));
}

let ids = 0;

/** An id for elements that name each other (labels, descriptions). */
export function freshId(prefix = "i") {
  ids += 1;
  return `${prefix}${ids}`;
}

/** Runs at most once per frame, however often it is asked to; `.now()` runs what waits at once. */
export function perFrame(run) {
  let waiting = 0;
  const asked = () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      run();
    });
  };
  asked.now = () => {
    if (!waiting) return;
    cancelAnimationFrame(waiting);
    waiting = 0;
    run();
  };
  return asked;
}
