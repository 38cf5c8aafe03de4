// The page's icons: strokes on a grid of 24, drawn for this page.
import { h } from "./dom.js";

const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h10",
  plus: "M12 5v14M5 12h14",
  pen: "M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4",
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14M16.5 16.5 21 21",
  folder: "M3 7a2 2 0 0 1 2-2h4l2 2.5h8a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  tutor: "M12 5 2.5 9.5 12 14l9.5-4.5zM6.5 11.5V16c3.5 2.7 7.5 2.7 11 0v-4.5M21.5 9.5V15",
  settings: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4M9 14a2 2 0 1 1 0 4 2 2 0 0 1 0-4",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  clip: "M20 11.5 12 19.4a5 5 0 0 1-7-7l8.3-8.2a3.3 3.3 0 0 1 4.7 4.7l-8.2 8.1a1.6 1.6 0 0 1-2.3-2.3l7.4-7.2",
  mic: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3M5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21",
  think: "M9.5 18h5M10 21h4M12 3a6 6 0 0 1 3.5 10.9c-.8.6-1 1.2-1 2.1h-5c0-.9-.2-1.5-1-2.1A6 6 0 0 1 12 3",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 12.5 10 17 19 7",
  redo: "M19 12a7 7 0 1 1-2.2-5.1L19 9M19 4v5h-5",
  left: "M14.5 6 8.5 12l6 6",
  right: "M9.5 6l6 6-6 6",
  down: "M6 9.5l6 6 6-6",
  close: "M6 6l12 12M18 6 6 18",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  save: "M12 4v11M7.5 10.5 12 15l4.5-4.5M5 19.5h14",
  load: "M12 15V4M7.5 8.5 12 4l4.5 4.5M5 19.5h14",
  run: "M8 5.5v13l10.5-6.5z",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12M12 9.3a2.7 2.7 0 1 1 0 5.4 2.7 2.7 0 0 1 0-5.4",
  mind: "M5 5h4v4H5zM15 5h4v4h-4zM5 15h4v4H5zM15 15h4v4h-4zM9 7h6M7 9v6M17 9v6M9 17h6",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  picture: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 8.5h.01",
  sound: "M4 10v4M8 7v10M12 4v16M16 8v8M20 10.5v3",
  clipfilm: "M4 6h11v12H4zM15 10.5 20.5 7v10L15 13.5",
  archive: "M4 4h16v4H4zM5.5 8v12h13V8M10 12h4",
  key: "M14.5 4a5.5 5.5 0 1 1-4.7 8.3L4 18v2.5h3V18h2.5v-2.5l1-1",
  keyboard: "M3 6.5h18v11H3zM7 10h.01M10.3 10h.01M13.7 10h.01M17 10h.01M8 14h8",
  out: "M14 5h5v5M19 5l-8 8M10 6H5v13h13v-5",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  if (name === "more") path.setAttribute("stroke-width", "2.6");
  svg.append(path);
  return svg;
}

/** A button that shows only an icon: its name is what screen readers say, and the tip. */
export function iconButton(name, label, click, props = {}) {
  const { class: extra = "", ...rest } = props;
  const on = { click };
  return h(
    "button",
    { type: "button", class: `icon-button ${extra}`.trim(), "aria-label": label, title: label, on, ...rest },
    icon(name),
  );
}
