"""Text to pieces that are tokenised one by one: cut where the text says so, never where a read happens to end.

A piece is a line with the blank lines after it. The split rules of the tokenizer also begin anew there, and before a
space between words, so the ids are those of the whole text; only a run of `limit` characters without either is cut
inside. Whether a place is a cut depends on at most `limit` + 1 characters, so more text at the end leaves all pieces
but the last as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_LINE_END = re.compile(r"\n(?=[^\S\n]*\S)")


def pieces(texts: Iterable[str], limit: int) -> Iterator[str]:
    """The same text in pieces of at most `limit` characters."""
    held, at = "", 0
    for text in texts:
        held, at = held[at:] + text, 0
        while len(held) - at > limit:
            end = _cut(held, at, limit)
            yield held[at:end]
            at = end
    while at < len(held):
        end = _cut(held, at, limit)
        yield held[at:end]
        at = end


def _cut(text: str, at: int, limit: int) -> int:
    """Where the piece that begins at `at` ends."""
    stop = at + limit
    if (line_end := _LINE_END.search(text, at, stop + 1)) is not None:
        return line_end.end()
    if len(text) <= stop:
        return len(text)
    newline = text.rfind("\n", at, stop)
    if newline >= 0:
        return newline + 1
    space = text.rfind(" ", at + 1, stop + 1)
    return space if space >= 0 else stop
