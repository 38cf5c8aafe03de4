// A reply on its way: events are gathered here, whoever looks; it goes on when the view is left and comes back.
import { post, part } from "./api.js";
import { perFrame } from "./dom.js";
import { follow } from "./events.js";
import { ApiError } from "./api.js";

export class Reply {
  /** `changed(reply)` at most once per frame; `ended(reply)` once. */
  constructor(message, { changed, ended }) {
    this.id = message.id;
    this.message = message;
    this.text = "";
    this.reasoning = "";
    this.progress = null;
    this.meter = null;
    this.tokens = [];
    this.citations = [];
    this.broken = false;
    this.fault = null;
    this.began = performance.now();
    this.reasoned = null;
    this.changed = perFrame(() => changed(this));
    this.ended = ended;
    this.leaving = new AbortController();
  }

  async run() {
    const told = (event) => (this.#told(event), this.changed());
    const broken = (now) => ((this.broken = now), this.changed());
    try {
      await follow(this.id, { told, broken, signal: this.leaving.signal });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.fault = error.message;
      this.message = { ...this.message, state: "failed" };
    }
    if (this.leaving.signal.aborted) return;
    this.changed.now();
    this.ended(this);
  }

  leave() {
    this.leaving.abort();
  }

  stop() {
    return post(`/replies/${part(this.id)}/stop`);
  }

  answerNow() {
    return post(`/replies/${part(this.id)}/answer`);
  }

  #told(event) {
    if (event.type === "text") {
      if (this.reasoning && this.reasoned === null) this.reasoned = (performance.now() - this.began) / 1000;
      this.text += event.delta;
    } else if (event.type === "reasoning") {
      if (!this.reasoning) this.began = performance.now();
      this.reasoning += event.delta;
    } else if (event.type === "progress") this.progress = event;
    else if (event.type === "token") this.tokens.push(event);
    else if (event.type === "citation") this.citations.push(event);
    else if (event.type === "meter") this.meter = event;
    else if (event.type === "done") this.message = event.message;
    else if (event.type === "error") {
      this.fault = event.message;
      this.message = { ...this.message, state: "failed" };
    }
  }
}
