// What the address says is shown: #/ a new chat, #/chat/ID, #/projects, #/project/ID, #/tutor, #/search/WORDS.

export function where(hash = location.hash) {
  const [, place = "", id = ""] = hash.split("/").map((piece) => {
    try {
      return decodeURIComponent(piece);
    } catch {
      return "";
    }
  });
  return { place: place || "new", id };
}

export function to(place, id = "") {
  return `#/${place === "new" ? "" : place}${id ? `/${encodeURIComponent(id)}` : ""}`;
}

export function go(place, id = "", { replace = false } = {}) {
  const hash = to(place, id);
  if (hash === location.hash) return dispatchEvent(new HashChangeEvent("hashchange"));
  if (!replace) return void (location.hash = hash);
  // A chat that has just been made takes the place of the empty one in the browser's history, and is not opened anew.
  history.replaceState(null, "", hash);
}

export function onMove(moved) {
  addEventListener("hashchange", () => moved(where()));
}
