"""The page without a browser: texts in every language, pinned libraries, no other hosts, a small first load."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "perilune" / "app" / "page"
OURS = sorted(path for path in PAGE.rglob("*") if path.is_file() and "vendor" not in path.parts)
SCRIPTS = [path for path in OURS if path.suffix == ".js"]
LANGUAGES = ("en", "de", "fr", "zh", "ja")
FIRST_LOAD_BYTES = 500_000  # compressed; the budget of the first visit
LONGEST_FILE = 400  # lines
# Keys that are put together from a prefix and a name that only runs.
MADE_KEYS = re.compile(r"\bt\(\s*`([a-zA-Z.]+)\$\{")


def texts(language):
    return json.loads((PAGE / "i18n" / f"{language}.json").read_text())


def source():
    return "\n".join(path.read_text() for path in SCRIPTS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_and_the_same_places_for_values(language):
    english, other = texts("en"), texts(language)
    assert list(other) == sorted(english)
    for key, text in english.items():
        assert other[key].strip(), key
        assert set(re.findall(r"\{\w+\}", other[key])) == set(re.findall(r"\{\w+\}", text)), key


def test_the_languages_on_offer_are_those_that_there_are():
    offered = re.search(r"LANGUAGES = \{(.*?)\}", (PAGE / "js" / "i18n.js").read_text(), re.DOTALL).group(1)
    assert re.findall(r"(\w+):", offered) == list(LANGUAGES)
    assert {path.stem for path in (PAGE / "i18n").iterdir()} == set(LANGUAGES)


def test_every_text_that_is_asked_for_exists_and_none_lies_idle():
    code, known = source(), set(texts("en"))
    bare = {re.sub(r"\.(one|other)$", "", key) for key in known}
    asked = set(re.findall(r"\bt\(\s*\"([\w.]+)\"", code))
    assert asked <= bare, asked - bare
    quoted = set(re.findall(r"\"([\w.]+)\"", code))
    made = tuple(MADE_KEYS.findall(code))
    idle = {key for key in bare if key not in quoted and not key.startswith(made)}
    assert not idle


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(PAGE)))
def test_nothing_is_asked_of_another_host(path):
    text = path.read_text()
    allowed = ("http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML")
    for address in re.findall(r"https?://[\w.-]+[\w./-]*", text):
        assert address in allowed, address
    assert not re.search(r"@import|url\(\s*[\"']?//", text)


@pytest.mark.parametrize("path", [path for path in OURS if path.suffix == ".html" and "frames" not in path.parts])
def test_markup_holds_no_script_and_no_style_of_its_own(path):
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_say_what_they_are_and_make_no_markup(path):
    text = path.read_text()
    assert text.startswith("// ") and len(text.splitlines()) <= LONGEST_FILE
    if "frames" not in path.parts:
        assert not re.search(
            r"\.(innerHTML|outerHTML)\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )


def test_libraries_are_those_that_were_published_with_their_licences():
    told = json.loads((PAGE / "vendor" / "vendor.json").read_text())
    real = {str(path.relative_to(PAGE / "vendor")) for path in (PAGE / "vendor").rglob("*") if path.is_file()}
    named = {f"{folder}/{name}" for folder, one in told.items() for name in one["files"]}
    assert real == named | {"vendor.json"}
    for folder, one in told.items():
        assert folder.endswith(one["version"]) and "LICENSE" in one["files"] and one["licence"]
        for name, digest in one["files"].items():
            assert hashlib.sha256((PAGE / "vendor" / folder / name).read_bytes()).hexdigest() == digest, name


def first_load():
    """The files that the first visit fetches: the document, what it names, and every static import."""
    found, waiting = set(), [PAGE / "index.html", PAGE / "i18n" / "de.json"]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".html":
            waiting += [PAGE / name for name in re.findall(r'"/app/([^"]+)"', path.read_text())]
        if path.suffix in (".js", ".mjs"):
            names = re.findall(r'^(?:import|export) [^;]*?from "(\.[^"]+)"', path.read_text(), re.MULTILINE)
            waiting += [(path.parent / name).resolve() for name in names]
    return found


def test_every_script_of_the_first_visit_is_fetched_at_once():
    ahead = re.findall(r'rel="modulepreload" href="/app/([^"]+)"', (PAGE / "index.html").read_text())
    needed = {str(path.relative_to(PAGE)) for path in first_load() if path.suffix in (".js", ".mjs")}
    assert sorted(ahead) == sorted(needed - {"js/early.js", "js/main.js"})


def test_the_first_visit_is_small():
    found = first_load()
    assert PAGE / "js" / "chat.js" in found
    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in found) < FIRST_LOAD_BYTES
    assert not [path for path in found if "katex" in str(path) or "highlightjs" in str(path)]
