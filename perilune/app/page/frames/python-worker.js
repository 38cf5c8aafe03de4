// Python itself: one program, its output piece by piece, and what it wants to show.
const VERSION = "314.0.7";
const MOST_TEXT = 200_000; // characters of output

const DISPLAY = `
def _shown(value):
    for kind, name in (("svg", "_repr_svg_"), ("html", "_repr_html_")):
        if hasattr(value, name):
            return kind, getattr(value, name)()
    return "text", repr(value)

class SVG:
    "A drawing: display(SVG('<svg …>'))."
    def __init__(self, text): self.text = text
    def _repr_svg_(self): return self.text

class HTML:
    "A piece of a page: display(HTML('<b>…</b>'))."
    def __init__(self, text): self.text = text
    def _repr_html_(self): return self.text

def display(*values):
    for value in values:
        _tell(*_shown(value))
`;

let said = 0;

function tell(type, text) {
  if (said > MOST_TEXT) return;
  said += text.length;
  postMessage({ type, text: said > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}\n…` : text });
}

onmessage = async ({ data: { base, code } }) => {
  try {
    const folder = `${base}vendor/pyodide-${VERSION}/`;
    const { loadPyodide } = await import(`${folder}pyodide.mjs`);
    const lockFileContents = JSON.stringify({
      info: { abi_version: "2026_0", arch: "wasm32", platform: "emscripten_5_0_3", python: "3.14.2", version: VERSION },
      packages: {},
    });
    const python = await loadPyodide({
      indexURL: folder,
      lockFileContents,
      stdout: (line) => tell("out", `${line}\n`),
      stderr: (line) => tell("err", `${line}\n`),
    });
    python.globals.set("_tell", (kind, text) => tell(kind, String(text)));
    python.runPython(DISPLAY);
    postMessage({ type: "running" });
    const result = await python.runPythonAsync(code);
    if (result !== undefined) {
      python.globals.set("_result", result);
      python.runPython("display(_result)");
    }
    postMessage({ type: "done" });
  } catch (error) {
    postMessage({ type: "fault", text: String(error.message ?? error) });
  }
};
