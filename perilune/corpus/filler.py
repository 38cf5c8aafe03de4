"""Endless filler for long documents: prose, code or repeated sentences, in pieces between which a needle may stand.

Every piece begins with what parts it from the one before: a space, a line end or an empty line.
"""

import random
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import gcd
from pathlib import Path
from threading import Lock
from typing import TypeVar

from perilune.corpus.readers import clean, rows, sentences
from perilune.corpus.sources import source
from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError
from perilune.tasks.tales import tale

T = TypeVar("T")
KINDS = ("text", "code", "noise", "needles")
TEXT_SHARES = {"wikipedia_en_2019": 0.6, "stories_cc_by": 0.25, "self_dialogue": 0.15}
LONGEST_PIECE = 600
LINES_IN_A_PIECE = 6
LARGEST_FILE = 200_000
_LOCK = Lock()
# The sentences of RULER's noise haystack are left to scoring.
NOISE = {
    True: ("The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again."),
    False: (
        "The wind is cold.",
        "The road is long.",
        "A bird sings.",
        "We walk on.",
        "The night is dark.",
        "Snow falls on the roof.",
        "Nothing new today.",
        "The river runs down to the sea.",
        "Up and down and up again.",
        "The tea is hot.",
        "One more time.",
        "The train goes by.",
        "Leaves fall in the garden.",
        "It rains and it stops.",
        "The clock ticks.",
        "Somebody laughs.",
        "The lamp is on.",
        "This line says nothing.",
        "The cat sleeps all day.",
        "Left, right, left, right.",
        "All is quiet here.",
        "The bread is fresh.",
        "Then it starts all over.",
        "The boat is small and red.",
    ),
}


def filler(kind: str, root: Path | None, rng: random.Random, held_out: bool) -> Iterator[str]:
    """Pieces without end. `root`: perilune.corpus.sources.data_root(), or None where the licensed data is absent."""
    if kind == "text":
        return _pieces_of(_texts(root, rng, held_out) if root else _tales(rng), prose)
    if kind == "code":
        return _pieces_of(_programs(root, rng, held_out), lines)
    if kind == "noise":
        return _noise(rng, NOISE[held_out])
    if kind == "needles":
        return iter(())
    raise ConfigError(f"no filler is called {kind!r}; there are {', '.join(KINDS)}")


def _pieces_of(documents: Iterator[str], cut: Callable[[str], Iterator[str]]) -> Iterator[str]:
    for document in documents:
        yield from cut(document)


def prose(text: str) -> Iterator[str]:
    """Sentences; a paragraph begins on a new line, a page after an empty one."""
    between = "\n\n"
    for paragraph in text.split("\n"):
        for sentence in sentences(paragraph.strip()):
            if len(sentence) <= LONGEST_PIECE:
                yield between + sentence
                between = " "
        between = "\n"


def lines(text: str) -> Iterator[str]:
    """Groups of lines that empty lines part, long groups cut."""
    between = "\n\n"
    for group in text.split("\n\n"):
        lines = group.strip("\n").rstrip().split("\n")
        for start in range(0, len(lines), LINES_IN_A_PIECE):
            piece = "\n".join(lines[start : start + LINES_IN_A_PIECE])
            if piece.strip() and len(piece) <= LONGEST_PIECE:
                yield between + piece
                between = "\n"
        between = "\n\n"


def _tales(rng: random.Random) -> Iterator[str]:
    while True:
        yield tale(rng)


def _texts(root: Path, rng: random.Random, held_out: bool) -> Iterator[str]:
    """Held-out texts are few: all of them come once before any comes again."""
    if held_out:
        everything = [text for name in TEXT_SHARES for text in _pool(root, name, True)]
        yield from (_from_anywhere(text, "\n", rng) for text in _shuffled(everything, rng))
    streams = {name: _shuffled(_pool(root, name, False), rng) for name in TEXT_SHARES}
    while True:
        yield _from_anywhere(next(streams[rng.choices(list(streams), list(TEXT_SHARES.values()))[0]]), "\n", rng)


def _programs(root: Path | None, rng: random.Random, held_out: bool) -> Iterator[str]:
    """Licensed programs to train on; the standard library of this Python to score on, or where there is no other."""
    pool = _pool(root, "code_python", False) if root and not held_out else None
    files = () if pool else _standard_library(held_out)
    for text in _shuffled(pool, rng) if pool else (read_lossy(path) for path in _shuffled(files, rng)):
        yield _from_anywhere(text.replace("\r\n", "\n"), "\n\n", rng)


def _shuffled(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    """All items again and again, each round in an order of its own that costs nothing to make."""
    count = len(items)
    while True:
        first, stride = rng.randrange(count), rng.randrange(1, count + 1)
        while gcd(stride, count) != 1:
            stride = rng.randrange(1, count + 1)
        yield from (items[(first + stride * i) % count] for i in range(count))


def _from_anywhere(text: str, mark: str, rng: random.Random) -> str:
    """Half of the texts from their beginning, the others from a later paragraph: short documents see all parts."""
    if rng.random() < 0.5:
        return text
    start = text.find(mark, rng.randrange(len(text) + 1))
    return text[start + len(mark) :] if start >= 0 else text


def _pool(root: Path, name: str, held_out: bool) -> tuple[str, ...]:
    """All texts of one source in memory, read once: any document may begin with any of them."""
    with _LOCK:
        return _loaded(root, name, held_out)


@lru_cache(maxsize=16)
def _loaded(root: Path, name: str, held_out: bool) -> tuple[str, ...]:
    if name == "code_python":
        return tuple(row["text"] for row in rows(root / name / "thealgorithms_py.jsonl.xz") if row["text"].strip())
    if name != "wikipedia_en_2019":
        return tuple(item.text for item in source(name).items(root, held_out) if item.text)
    # Whole pages of the encyclopedia; the training mixture knows their openings only.
    pages = (row for path in source(name).paths(root) for row in rows(path))
    return tuple(cleanlines(page["text"]) for page in pages if is_held_out(name, page["title"]) == held_out)


def cleanlines(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n") if line.strip())


def read_lossy(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@lru_cache(maxsize=2)
def _standard_library(held_out: bool) -> tuple[Path, ...]:
    """One half of its files for each side."""
    root = Path(sysconfig.get_path("stdlib"))
    outside = {"site-packages", "test", "tests"}
    found = sorted(path for path in root.rglob("*.py") if not outside & set(path.relative_to(root).parts))
    fitting = [path for path in found if 0 < path.stat().st_size <= LARGEST_FILE]
    return tuple(path for i, path in enumerate(fitting) if (i % 2 == 0) == held_out)


def _noise(rng: random.Random, known: tuple[str, ...]) -> Iterator[str]:
    """A few sentences over and over, then others."""
    while True:
        some = list(known) if len(known) < 6 else rng.sample(known, rng.randrange(3, 8))
        in_order, paragraph = rng.random() < 0.7, rng.randrange(4, 20)
        for turn in range(rng.randrange(60, 300)):
            sentence = some[turn % len(some)] if in_order else rng.choice(some)
            yield ("\n" if turn % paragraph == 0 else " ") + sentence
