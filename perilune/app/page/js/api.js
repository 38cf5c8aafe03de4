// The server's API under /app/api/. Every call that changes something carries a header that no other site's page can send.

const BASE = "/app/api";

/** What the server answered when it refused; status 0 when it did not answer at all. */
export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const watchers = new Set();
let reachable = true;

/** `heard(true or false)` whenever the server comes back or goes away. */
export function onReachable(heard) {
  watchers.add(heard);
}

export function tellReachable(now) {
  if (now === reachable) return;
  reachable = now;
  for (const heard of watchers) heard(now);
}

export function isReachable() {
  return reachable;
}

/** The answer's JSON; throws ApiError. `body` is sent as JSON, a Blob as it is. */
export async function call(method, path, body, { signal } = {}) {
  const headers = {};
  if (method !== "GET") headers["x-perilune"] = "1";
  if (body !== undefined && !(body instanceof Blob)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(BASE + path, { method, headers, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tellReachable(false);
    throw new ApiError(error.message, 0, "unreachable");
  }
  tellReachable(true);
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

async function refusal(answer) {
  const told = await answer.json().catch(() => ({}));
  return new ApiError(told.error?.message ?? `${answer.status} ${answer.statusText}`, answer.status, told.error?.code);
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body = {}, options) => call("POST", path, body, options);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);
export const part = encodeURIComponent;

/** Where a file or an export can be fetched by the browser itself. */
export const address = (path) => BASE + path;

/** Sends a file and tells how much of it has gone: `sent(share)`, from 0 to 1. */
export function upload(path, blob, sent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", BASE + path);
    request.setRequestHeader("x-perilune", "1");
    request.setRequestHeader("content-type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    request.onerror = () => (tellReachable(false), reject(new ApiError("", 0, "unreachable")));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onload = () => {
      const told = request.response;
      if (request.status < 300) return resolve(told);
      reject(new ApiError(told?.error?.message ?? String(request.status), request.status, told?.error?.code));
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(blob);
  });
}
