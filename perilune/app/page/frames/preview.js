// Shows HTML or SVG that a model wrote. This frame has no origin: it reaches neither the page nor any address.
addEventListener(
  "message",
  ({ data, source }) => {
    if (source !== parent || typeof data?.html !== "string") return;
    document.open();
    document.write(data.html);
    document.close();
  },
  { once: true },
);
parent.postMessage("ready", "*");
