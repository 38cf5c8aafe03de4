"""The house rules a machine can see: which way imports run, how long files are, and that the README's tree is real."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "perilune"
FILES = sorted(PACKAGE.rglob("*.py"))

# A room may import itself and what stands to its left. Workshops stand beside the road and beside one another.
ROAD = [
    "errors",
    "fields",
    "config",
    "text",
    "media",
    "documents",
    "kernels",
    "weights",
    "model",
    "engine",
    "api",
    "server",
    "fleet",
    "app",
]
FOUNDATION = {"errors", "fields", "config", "config_audio", "config_json", "config_parts", "config_vision", "presets"}
SHARED = {"corpus", "tasks"}
WORKSHOPS = {"train", "score", "bench", "plan", "show", "synth"}
TOP = {"cli", "__main__", "__init__", "demo"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 80


def room(path_or_module):
    return path_or_module.split(".")[1] if "." in path_or_module else "__init__"


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "perilune":
                yield from (f"perilune.{alias.name}" for alias in node.names)
            else:
                yield node.module


def may_import(here, there):
    if here == there or here in TOP or there in FOUNDATION:
        return here not in FOUNDATION or there in FOUNDATION
    if here in SHARED:
        return there in SHARED or there == "text"
    if here in WORKSHOPS:
        return there in SHARED or there in ROAD
    if here in ROAD and there in ROAD:
        return ROAD.index(there) < ROAD.index(here)
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    here = room(module_name(path))
    for module in imported_modules(path):
        if module.startswith("perilune."):
            assert may_import(here, room(module)), f"{here} must not import {module}"


def test_every_room_is_known():
    rooms = {room(module_name(path)) for path in FILES}
    assert rooms <= set(ROAD) | FOUNDATION | SHARED | WORKSHOPS | TOP, "give a new room its place on the road"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_say_what_they_are(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_code_is_loaded_from_data(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill", "marshal", "shelve"} & set(names)
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            assert called not in {"eval", "exec", "__import__"}
            attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            owner = getattr(getattr(node.func, "value", None), "id", "")
            assert (owner, attribute) != ("torch", "load")


def test_the_readme_tree_is_the_real_tree():
    tree = re.search(r"```tree\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree, "README.md has no ```tree block"
    folders, named = [], set()
    for line in tree.group(1).splitlines():
        entry = line.split("  ")[0] if not line.startswith(" ") else line.strip().split("  ")[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], entry.rstrip("/")]
        if entry.endswith(".py"):
            named.add("/".join(folders))
    real = {str(path.relative_to(ROOT)) for path in FILES if path.name != "__init__.py" or path.parent == PACKAGE}
    assert named == real


def test_a_light_import_does_not_pull_torch():
    code = "import sys, perilune, perilune.cli; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "False"
