// What this browser remembers of its user's choices. Everything else lives on the server.

const KEY = "perilune.settings";
export const DEFAULTS = {
  theme: "auto",
  language: "auto",
  sidebar: true,
  thinking: null, // as it suits what is asked
  temperature: null,
  top_p: null,
  max_tokens: null,
  system: "",
  mind: false,
  send: "enter",
};
const listeners = new Set();
let current = { ...DEFAULTS };

export function loadSettings() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) || "{}");
    for (const name of Object.keys(DEFAULTS)) if (name in stored) current[name] = stored[name];
  } catch {
    current = { ...DEFAULTS };
  }
  applyTheme();
}

export function setting(name) {
  return current[name];
}

export function change(name, value) {
  if (!(name in DEFAULTS)) throw new Error(`no setting is called ${name}`);
  current[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // A browser without storage forgets the choice at the next visit.
  }
  if (name === "theme") applyTheme();
  for (const heard of listeners) heard(name, value);
}

export function onChange(heard) {
  listeners.add(heard);
  return () => listeners.delete(heard);
}

function applyTheme() {
  const root = document.documentElement;
  if (current.theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = current.theme;
}
