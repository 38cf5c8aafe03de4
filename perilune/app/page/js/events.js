// A reply's events as the server tells them. When the connection breaks, it is taken up again after the last one heard.
import { address, ApiError, part, tellReachable } from "./api.js";

const WAITS_MS = [250, 500, 1000, 2000, 4000];

/** Splits a stream of text into events: feed(text) gives those that are whole, as {id, data}. */
export class EventParser {
  #rest = "";
  #id = null;
  #data = [];

  feed(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    const found = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) found.push({ id: this.#id, data: this.#data.join("\n") });
        this.#data = [];
      } else if (!line.startsWith(":")) {
        const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (name === "data") this.#data.push(value);
        else if (name === "id") this.#id = value;
      }
    }
    return found;
  }
}

/**
 * Calls `told(event)` for every event of a reply after number `after`, until it ends or `signal` is aborted.
 * `broken(true or false)` says when the connection is lost and when it is back. Throws what the server refuses.
 */
export async function follow(reply, { after = 0, told, broken = () => {}, signal }) {
  for (let tries = 0; !signal?.aborted;) {
    const before = after;
    try {
      const answer = await fetch(address(`/replies/${part(reply)}/events?after=${after}`), {
        signal,
        cache: "no-store",
      });
      if (answer.status >= 500) throw new TypeError(`status ${answer.status}`);
      if (!answer.ok) {
        const refused = await answer.json().catch(() => ({}));
        throw new ApiError(refused.error?.message ?? answer.statusText, answer.status, refused.error?.code);
      }
      if (tries) broken(false);
      tellReachable(true);
      const parser = new EventParser();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        for (const { id, data } of parser.feed(value)) {
          const event = JSON.parse(data);
          if (id !== null) after = Number(id);
          told(event);
          if (event.type === "done") return;
        }
      }
    } catch (error) {
      if (signal?.aborted || error instanceof ApiError) {
        if (signal?.aborted) return;
        throw error;
      }
      if (error instanceof SyntaxError) throw error;
    }
    if (after > before) tries = 0;
    broken(true);
    tellReachable(false);
    await new Promise((resolve) => setTimeout(resolve, WAITS_MS[Math.min(tries, WAITS_MS.length - 1)]));
    tries += 1;
  }
}
