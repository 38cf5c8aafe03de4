// What a reply cost, and how far a long prompt has been read.
import { h } from "./dom.js";
import { number, seconds, t } from "./i18n.js";

export function meterLine(meter) {
  if (!meter) return null;
  const share = meter.prompt_tokens ? meter.cached_tokens / meter.prompt_tokens : 0;
  const said = [
    meter.tokens_per_second &&
      t("meter.speed", { speed: number(meter.tokens_per_second, { maximumFractionDigits: 1 }) }),
    meter.first_token_seconds != null && t("meter.first", { time: seconds(meter.first_token_seconds) }),
    t("meter.prompt", { count: meter.prompt_tokens ?? 0 }),
    share > 0 && t("meter.cached", { share: number(share, { style: "percent", maximumFractionDigits: 0 }) }),
    t("meter.reply", { count: meter.reply_tokens ?? 0 }),
  ];
  return h(
    "span",
    { class: "meter on-hover" },
    said.filter(Boolean).map((one) => h("span", {}, one)),
    energy(meter),
  );
}

/** Joules, and joules for a token; nothing where this machine counts none. */
export function energy(meter) {
  if (meter?.joules == null) return null;
  const each = meter.joules_per_token;
  const said = [
    t("meter.joules", { joules: number(meter.joules, { maximumFractionDigits: 1 }) }),
    each != null && t("meter.joules.token", { joules: number(each, { maximumSignificantDigits: 3 }) }),
  ];
  return h("span", { class: "energy", title: t("meter.joules.whole") }, said.filter(Boolean).join(" · "));
}

export function progressBar({ read, total, tokens_per_second: speed, seconds_left: left }) {
  const bar = h("progress", { max: total, value: read, "aria-label": t("reading") });
  const told = [
    t("reading.of", { read, total }),
    speed && t("meter.speed", { speed: number(speed, { maximumFractionDigits: 0 }) }),
    left != null && t("reading.left", { time: seconds(left) }),
  ];
  return h("div", { class: "reading" }, bar, h("p", { class: "hint" }, told.filter(Boolean).join(" · ")));
}
