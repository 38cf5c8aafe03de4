"""Needles and haystacks of one's own: sentences, questions and answers from a file, among texts of one's choice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from perilune.corpus.filler import lines, prose
from perilune.documents.collect import collect
from perilune.documents.decode import read_text
from perilune.documents.source import Source
from perilune.errors import RequestError
from perilune.tasks.lookup_types import Lookup, question

WRITTEN = "written"  # 283 of them, put down by hand for scoring alone
MOST_BYTES = 8 << 20
MOST_CHARS = 2_000
PROSE = (".txt", ".md", ".rst", "")
EXAMPLE = '{"needle": "The key lies under the mat.", "question": "Where does the key lie?", "answer": "the mat"}'


def read_needles(name: str) -> tuple[Lookup, ...]:
    """One lookup for each line of a JSONL file, such as EXAMPLE; `answer` may be a list. RequestError says which line
    is wrong, and how."""
    path = Path(__file__).with_name("written_needles.jsonl") if name == WRITTEN else Path(name)
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise RequestError(f"--needles: {name} cannot be read: {why}; give a JSONL file or {WRITTEN!r}") from None
    if len(raw) > MOST_BYTES:
        raise RequestError(f"--needles: {name} is larger than {MOST_BYTES >> 20} MiB")
    made = [_lookup(line, f"{name}, line {n}") for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not made:
        raise RequestError(f"--needles: {name} is empty; each line is such as {EXAMPLE}")
    return tuple(made)


def _lookup(line: str, where: str) -> Lookup:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise RequestError(f"--needles: {where} is no JSON object; it should be such as {EXAMPLE}")
    answers = told.get("answer")
    answers = answers if isinstance(answers, list) and answers else [answers]
    for key, value in (
        ("needle", told.get("needle")),
        ("question", told.get("question")),
        *(("answer", a) for a in answers),
    ):
        if not isinstance(value, str) or not value.strip() or len(value) > MOST_CHARS:
            raise RequestError(f"--needles: {where} needs {key!r} as a text of 1 to {MOST_CHARS:,} characters")
    needle = told["needle"].strip()
    missing = next((answer for answer in answers if answer not in needle), None)
    if missing is not None:
        raise RequestError(f"--needles: {where}: the answer {missing[:40]!r} does not stand in the needle")
    return Lookup(WRITTEN, (needle,), (question(told["question"].strip(), answers, (0,)),), "text")


def own_filler(path: str) -> Iterator[str]:
    """The texts of a file or folder in pieces, again and again; documents as prose, all else by groups of lines."""
    found = collect(path)
    while True:
        some = False
        for source in found.sources:
            for piece in _pieces(source):
                some = True
                yield piece
        if not some:
            raise RequestError(f"--filler: {path} holds no text to lay needles into")


def _pieces(source: Source) -> Iterator[str]:
    text = "".join(read_text(source))
    return (prose if Path(source.name).suffix.lower() in PROSE else lines)(text)
