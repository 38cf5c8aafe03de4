// Python itself: one program, its output piece by piece, and what it wants to show.
const VERSION = "314.0.7";
const MOST_TEXT = 200_000; // characters of output
const PLOTS = ["__init__.py", "pyplot.py", "drawing.py"]; // of matplotlib, as much as there is here

const DISPLAY = `
import sys

class _Absent:
    "Says of well-known libraries that they are not here, and what is."
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "pandas", "scipy", "seaborn", "sympy", "plotly", "matplotlib", "PIL"):
            raise ModuleNotFoundError(
                f"{name} is not part of this page's Python. It has the standard library (math, statistics, random, "
                "csv, sqlite3 ...) and a small matplotlib.pyplot that draws lists of numbers.", name=name)

sys.meta_path.append(_Absent)

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

// What was drawn is shown, also where a program does not say so.
const ENDED = `
if "matplotlib.pyplot" in sys.modules:
    sys.modules["matplotlib.pyplot"].show()
`;

let said = 0;

function tell(type, text) {
  if (said > MOST_TEXT) return;
  said += text.length;
  if (said <= MOST_TEXT) postMessage({ type, text });
  else if (type !== "svg" && type !== "html") postMessage({ type, text: `${text.slice(0, MOST_TEXT)}\n…` });
  else postMessage({ type: "err", text: `a program may show ${MOST_TEXT} characters; what it drew has ${text.length}\n` });
}

async function addPlots(python, base) {
  const folder = python.runPython("import site; site.getsitepackages()[0]") + "/matplotlib";
  python.FS.mkdirTree(folder);
  for (const name of PLOTS) {
    const answer = await fetch(`${base}frames/matplotlib/${name}`);
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    python.FS.writeFile(`${folder}/${name}`, await answer.text());
  }
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
    if (code.includes("matplotlib")) await addPlots(python, base);
    postMessage({ type: "running" });
    const result = await python.runPythonAsync(code);
    if (result !== undefined) {
      python.globals.set("_result", result);
      python.runPython("display(_result)");
    }
    python.runPython(ENDED);
    postMessage({ type: "done" });
  } catch (error) {
    postMessage({ type: "fault", text: String(error.message ?? error) });
  }
};
