// Asks for the key once; the server answers with a cookie that scripts cannot read.
import { post } from "./api.js";
import { clear, freshId, h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";

export function askForKey(page) {
  return new Promise((resolve) => {
    const fault = h("p", { class: "fault", role: "alert", id: freshId("fault") });
    const input = h("input", {
      type: "password",
      required: true,
      autocomplete: "current-password",
      "aria-describedby": fault.id,
    });
    const button = h("button", { class: "button main" }, icon("key"), t("login.enter"));
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      fault.textContent = "";
      try {
        await post("/session", { key: input.value.trim() });
        resolve();
      } catch (error) {
        fault.textContent = error.status === 401 ? t("login.wrong") : error.status ? error.message : t("offline");
        input.select();
      } finally {
        button.disabled = false;
      }
    };
    const title = h("h1", {}, h("img", { src: "/app/icon.svg", alt: "" }), "perilune");
    clear(
      page,
      h(
        "main",
        { class: "login" },
        h(
          "form",
          { class: "stack", on: { submit } },
          title,
          h(
            "label",
            { class: "field" },
            h("span", {}, t("login.key")),
            input,
            h("span", { class: "hint" }, t("login.hint")),
          ),
          fault,
          button,
        ),
      ),
    );
    input.focus();
  });
}
