// Every text of the surface, in the reader's language. i18n/*.json all have the same keys; a test compares them.

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", zh: "中文", ja: "日本語" };
let texts = {};
let language = "en";
let plurals = new Intl.PluralRules("en");

/** The language asked for, or the first one of the browser's that there is. */
export function chosenLanguage(asked, offered = navigator.languages) {
  const wanted = asked && asked !== "auto" ? [asked] : offered;
  for (const one of wanted) {
    const short = String(one).toLowerCase().split("-")[0];
    if (short in LANGUAGES) return short;
  }
  return "en";
}

export async function useLanguage(asked) {
  language = chosenLanguage(asked);
  const answer = await fetch(`/app/i18n/${language}.json`);
  if (!answer.ok) throw new Error(`i18n/${language}.json: ${answer.status}`);
  texts = await answer.json();
  plurals = new Intl.PluralRules(language);
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
}

/** t("meter.reply", { count: 3 }): with a count, `key.one` or `key.other` is taken as the language counts. */
export function t(key, values = {}) {
  let text = texts[key];
  if (text === undefined && "count" in values) {
    text = texts[`${key}.${plurals.select(values.count) === "one" ? "one" : "other"}`];
  }
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : String(value ?? whole);
  });
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(language, options).format(value);
}

/** 1234567 → "1.2M": for places where there is no room. */
export function shortNumber(value) {
  return number(value, { notation: "compact", maximumFractionDigits: 1 });
}

export function bytes(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let power = 0;
  for (; value >= 1000 && power < 3; power += 1) value /= 1000;
  return number(value, {
    style: "unit",
    unit: units[power],
    unitDisplay: "short",
    maximumFractionDigits: power ? 1 : 0,
  });
}

export function seconds(value) {
  if (value >= 90) return number(Math.round(value / 60), { style: "unit", unit: "minute", unitDisplay: "short" });
  return number(value, {
    style: "unit",
    unit: "second",
    unitDisplay: "short",
    maximumFractionDigits: value < 10 ? 1 : 0,
  });
}

export function date(unix, options = { dateStyle: "medium", timeStyle: "short" }) {
  return new Intl.DateTimeFormat(language, options).format(new Date(unix * 1000));
}

/** Which group of the sidebar a time belongs to. */
export function dayGroup(unix, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - unix * 1000) / 86_400_000);
  if (days <= 0) return t("days.today");
  if (days === 1) return t("days.yesterday");
  if (days <= 7) return t("days.week");
  return date(unix, { month: "long", year: "numeric" });
}
