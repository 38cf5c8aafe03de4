// Starts Python in a worker of this frame, which has no origin, and passes what it says on to the page.
const base = location.href.replace(/frames\/[^/]*$/, "");
// A frame without an origin may not start a worker from an address, but from a blob that loads it.
const start = new Blob([`importScripts(${JSON.stringify(`${base}frames/python-worker.js`)});`], {
  type: "text/javascript",
});
const worker = new Worker(URL.createObjectURL(start));
worker.onmessage = ({ data }) => parent.postMessage(data, "*");
worker.onerror = (event) =>
  parent.postMessage({ type: "fault", text: event.message || "the worker did not start" }, "*");
addEventListener("message", ({ data, source }) => {
  if (source === parent) worker.postMessage({ base, code: data.code });
});
parent.postMessage({ type: "ready" }, "*");
