"""Needles as programs keep them: JSON, tables, settings, logs, constants, functions and the files that hold them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from perilune.tasks import lookup_words as w
from perilune.tasks.lookup_drawn import drawn_file, drawn_function, drawn_pair
from perilune.tasks.lookup_keys import Keys
from perilune.tasks.lookup_questions import wrap
from perilune.tasks.lookup_types import Lookup, Question, fair_questions, question
from perilune.tasks.lookup_values import Values, clock
from perilune.tasks.task import chance, pick

PAIRS = {
    False: (
        '"{k}": "{v}",',
        '{{"key": "{k}", "value": "{v}"}}',
        '{{"{k}": "{v}"}}',
        '  "{k}" : "{v}"',
        "{k}={v}",
        "{k} = {v}",
        '{k} = "{v}"',
        "{k}: {v}",
        "{k},{v}",
        "{k};{v};",
        "| {k} | {v} |",
        "{k}\t{v}",
        "set {k} {v}",
        "{t} INFO {k}: {n} {v}",
        "[{t}] {k} {n}={v}",
        "{t} {k} -> {v}",
        'self.{k} = "{v}"',
        '{k} = "{v}"  # {n}',
        'const {k} = "{v}";',
        "#define {k} {v}",
        'config["{k}"] = "{v}"',
        "--{k} {v}",
        "# {k}: {v}",
        '{k}("{v}")',
    ),
    True: (
        "- id: {k}\n  data: {v}",
        '<item id="{k}">{v}</item>',
        "INSERT INTO store VALUES ('{k}', '{v}');",
        "export {k}='{v}'",
        'let {k} = String::from("{v}");',
        "{k} => {v}",
        "{k} := {v}",
        '("{k}" . "{v}")',
    ),
}
PAIR_QUESTIONS = {
    False: (
        "what is the value of {k}?",
        "which value does {k} have?",
        "what is {k} set to?",
        'what is stored under "{k}"?',
        "value of {k}?",
        "look up {k}.",
        "give me the value for {k}.",
        "what does {k} contain?",
        "what belongs to the key {k}?",
        "find {k} and tell me its value.",
        "what is `{k}`?",
        "read the value of {k}.",
        "what did they give to {k}?",
        "what is written next to {k}?",
        "which value goes with {k}?",
        "tell me what {k} holds.",
        "what does the entry {k} say?",
        "show what is under {k}.",
        "get {k}",
        "{k} = ?",
        "the content of {k}, please.",
        "where {k} is set, what is it set to?",
        "which data stands at {k}?",
        "fetch the record of {k}.",
        "print {k}",
        "how is {k} configured?",
        "what comes after {k}?",
        "what did the log note for {k}?",
        "quote what {k} equals.",
        "what has been saved as {k}?",
    ),
    True: (
        "report the content kept at {k}.",
        "extract the value corresponding to the specified key: {k}",
        "to what was {k} assigned?",
    ),
}
FUNCTIONS = {
    False: (
        'def {k}():\n    return "{v}"',
        "def {k}(x):\n    # {n}\n    return {q}",
        "def {k}(self) -> str:\n    return {q}",
        "{k} = lambda: {q}",
        "function {k}() {{\n  return {q};\n}}",
        'class Maker:\n    def {k}(self, {n}=None):\n        {n} = "{v}"\n        return {n}',
        'def {k}(*args):\n    """Gives the {n}."""\n    return {q}',
    ),
    True: (
        "fn {k}() -> &'static str {{\n    {q}\n}}",
        "public String {k}() {{\n    return {q};\n}}",
        "(defun {k} () {q})",
        "async def {k}({n}):\n    yield {q}",
    ),
}
FUNCTION_QUESTIONS = {
    False: (
        "what does {k} return?",
        "what does `{k}()` return?",
        "what do I get when I call {k}?",
        "return value of {k}?",
        "which value comes back from {k}?",
        "what is the result of {k}()?",
        "calling {k} gives what?",
        "run {k}() for me.",
        "execute {k} and tell me what comes out.",
        "what is the output of {k}?",
        "what would {k}() produce?",
        "{k}() == ?",
        "which value do you get from {k}?",
        "what does the function {k} give back?",
        "if I invoke {k}, which value will I see?",
        "to what does {k}() evaluate?",
        "what answer does {k} hand to its user?",
    ),
    True: ("evaluate {k}().", "what would a caller of {k} receive?"),
}
FILES = {
    False: (
        "File: {v}\n\ndef {k}({n}):\n    return {n}",
        "File: {v}\nclass {k}:\n    pass",
        "# {v}\ndef {k}({n}, {m}):\n    {m} = {n}\n    return {m}",
        "File: {v}\n\nimport {m}\n\n{k} = {m}.{n}()",
        "--- {v} ---\ndef {k}():\n    print({q})",
        "{v}: defines {k}",
    ),
    True: ("== {v} ==\nfn {k}({n}: u8) {{ }}", "// {v}\nvoid {k}(int {n}) {{ return; }}"),
}
DEFINITIONS = {
    False: (
        "class {k}:\n    {n} = {q}",
        "class {k}(Base):\n    pass",
        "{k} = {q}",
        "def {k}({n}, *, size={q}):\n    return size * {n}",
        "async def {k}({n}: str) -> None:\n    print({n})",
        "@cache\ndef {k}({n}):\n    return [{n}] * {q}",
        "const {k} = ({n}) => {n} + {q};",
    ),
    True: ("struct {k} {{\n    int {n};\n}};", "func {k}({n} int) int {{ return {n} + {q} }}"),
}
FILE_QUESTIONS = {
    False: (
        "which file defines {k}?",
        "where is {k} defined?",
        "in which file is {k}?",
        "file of {k}?",
        "which file do I open to change {k}?",
        "path of the file with {k}?",
        "find the file that holds {k}.",
        "where does {k} come from?",
        "where does {k} live?",
        "where is the code of {k}?",
        "in what file will I see {k}?",
        "point me to {k}.",
        "show me the file that implements {k}.",
        "which module has {k}?",
        "where can I read {k}?",
        "what is the file name for {k}?",
        "which path leads to {k}?",
        "where was {k} written?",
        "name the file of {k}.",
        "trace {k} back to its file.",
        "open the file in which {k} begins.",
        "I want to read the code of {k}; which file is it?",
        "who keeps {k}, I mean which file?",
        "whereabouts in the project does {k} stand?",
        "tell me the path under which {k} was declared.",
        "from which file can I import {k}?",
        "{k} is implemented in what file?",
        "search for {k} and give the file.",
        "what is the home of {k}?",
        "in what part of the tree do they define {k}?",
    ),
    True: ("locate the source of {k}.", "which path contains the definition of {k}?"),
}
FREE_KEYS = ("snake", "camel", "dotted", "letters", "made_up", "uuids", "numbers", "pairs")
NAMES = ("snake", "snake", "camel", "letters", "made_up")
VALUES = (
    *("digits4", "digits5", "digits6", "digits7", "number", "hex", "uuid", "mixed", "serial", "ip", "path"),
    *("phrase", "made_up", "email", "version"),
)


@dataclass(frozen=True)
class Notation:
    """How one kind of record is written and asked for."""

    task: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    templates: Mapping[bool, Sequence[str]]
    questions: Mapping[bool, Sequence[str]]
    fillers: Mapping[str, int]
    drawn: Callable[[random.Random], str]


RECORDS = Notation(
    "records",
    FREE_KEYS,
    VALUES,
    PAIRS,
    PAIR_QUESTIONS,
    {"code": 35, "text": 25, "needles": 30, "noise": 10},
    drawn_pair,
)
RETURNS = Notation("functions", NAMES, VALUES, FUNCTIONS, FUNCTION_QUESTIONS, {"code": 1}, drawn_function)
PATHS = Notation("files", NAMES, ("path",), FILES, FILE_QUESTIONS, {"code": 1}, drawn_file)


def _document(
    rng: random.Random,
    count: int,
    held_out: bool,
    kind: Notation,
    keys: Keys | None,
    values: Values | None,
) -> Lookup:
    """One template for all needles (or a few, in a file of many kinds), keys of one kind, one kind of value."""
    subjects = (keys or Keys(rng, held_out)).several(pick(rng, kind.keys), max(1, count))
    values, kind_of_value = values or Values(rng, held_out), pick(rng, kind.values)
    templates, questions = kind.templates[held_out], kind.questions[held_out]
    some = [pick(rng, templates)] if rng.random() < 0.7 else list(templates)
    if not held_out and chance(rng, 0.5):
        some = [kind.drawn(rng) for _ in some]
    noun = w.CODE_NOUNS.pick(rng, held_out)
    needles: list[str] = []
    given: list[str] = []
    for subject in subjects:
        value = values.fresh(kind_of_value) or values.fresh("uuid") or "0"
        parts = {"n": w.CODE_NOUNS.pick(rng, held_out) if len(some) > 1 else noun, "m": pick(rng, ("data", "item"))}
        quoted = value if value.isdigit() and value[0] != "0" else f'"{value}"'
        said = pick(rng, some).format(k=subject.name, v=value, q=quoted, t=clock(rng, held_out), **parts)
        needles.append(said)
        given.append(value)

    def ask() -> Question:
        index = rng.randrange(len(needles))
        name = subjects[index].name
        text = pick(rng, questions).format(k=name)
        return question(wrap(rng, text, held_out, keep=text.startswith(name)), [given[index]], [index])

    filler = rng.choices(list(kind.fillers), list(kind.fillers.values()))[0]
    return Lookup(kind.task, tuple(needles), fair_questions(rng, ask), filler)


def records(
    rng: random.Random, needles: int, held_out: bool, keys: Keys | None = None, values: Values | None = None
) -> Lookup:
    return _document(rng, needles, held_out, RECORDS, keys, values)


def functions(
    rng: random.Random, needles: int, held_out: bool, keys: Keys | None = None, values: Values | None = None
) -> Lookup:
    return _document(rng, needles, held_out, RETURNS, keys, values)


def files(
    rng: random.Random, needles: int, held_out: bool, keys: Keys | None = None, values: Values | None = None
) -> Lookup:
    return _document(rng, needles, held_out, PATHS, keys, values)


def defined(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """Which file defines a name: the answer is the name of the document, far from the definition."""
    keys = Keys(rng, held_out).several(pick(rng, NAMES), max(1, needles // 3))
    name = Values(rng, held_out).fresh("path") or "main.py"
    templates = [*FUNCTIONS[held_out], *DEFINITIONS[held_out]]
    if not held_out:
        templates += [drawn_function(rng) for _ in range(6)]
    said = []
    for key in keys:
        parts = {"v": name.rsplit("/", 1)[-1][:3], "q": rng.randrange(100), "n": w.CODE_NOUNS.pick(rng, held_out)}
        said.append(pick(rng, templates).format(k=key.name, m="item", **parts))

    def ask() -> Question:
        index = rng.randrange(len(said))
        text = pick(rng, FILE_QUESTIONS[held_out]).format(k=keys[index].name)
        return question(wrap(rng, text, held_out), [name], [index])

    return Lookup("defined", tuple(said), fair_questions(rng, ask), "code", file=name)
