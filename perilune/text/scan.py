"""Finds special tokens in a stream of text, however the stream is cut.

A marker holds `<` or `[` at its start and nowhere else, so two markers never overlap and only the last
such character of a text can begin an unfinished one.
"""

import re

import regex

from perilune.text import specials as sp

SINGULAR = {
    "<|tool_call_section_begin|>": sp.SECTION_BEGIN,
    "<|tool_call_section_end|>": sp.SECTION_END,
}

_MAX_MARKER_CHARS = 48
_PIECES = re.compile(r"[<\[][^<\[]*|[^<\[]+")


def _pattern(names: list[str], extra: str = "") -> regex.Pattern[str]:
    return regex.compile("|".join(regex.escape(name) for name in names) + extra)


# Text alone does not tell a token from its spelling, so every spelling of a token counts.
SPELLED = _pattern([*sp.OFFSETS.values(), *SINGULAR], r"|<\|reserved_token_\d{1,8}\|>")
# Where ids tell the tokens apart, the text between them can only hold what is not a token.
UNTOKENIZED = _pattern(list(SINGULAR))


class Scanner:
    """Cuts a stream into text and markers, and holds back a tail that may become a marker."""

    def __init__(self, pattern: regex.Pattern[str]):
        self._pattern = pattern
        self._tail = ""

    def feed(self, text: str) -> list[tuple[str, bool]]:
        """Pieces in order as (text, is_marker)."""
        text = self._tail + text
        pieces: list[tuple[str, bool]] = []
        done = 0
        for match in self._pattern.finditer(text):
            pieces += [(text[done : match.start()], False), (match.group(), True)]
            done = match.end()
        cut = max(done, self._open_marker(text))
        self._tail = text[cut:]
        pieces.append((text[done:cut], False))
        return [piece for piece in pieces if piece[0]]

    def flush(self) -> str:
        """The held tail, which turned out to be text."""
        tail, self._tail = self._tail, ""
        return tail

    def _open_marker(self, text: str) -> int:
        first = max(0, len(text) - _MAX_MARKER_CHARS)
        start = max(text.rfind("<", first), text.rfind("[", first))
        if start >= 0 and self._pattern.fullmatch(text, start, partial=True):
            return start
        return len(text)


class Scrubber:
    """Removes markers from one output channel, also those that arise when a marker between is removed.

    `_held` is a stack of unfinished markers, each standing directly before the next.
    """

    def __init__(self, pattern: regex.Pattern[str]):
        self._pattern = pattern
        self._held: list[str] = []

    def feed(self, text: str) -> str:
        out: list[str] = []
        for piece in _PIECES.findall(text):
            if piece[0] in "<[":
                self._held.append(piece)
            elif self._held:
                self._held[-1] += piece
            else:
                out.append(piece)
            self._settle(out)
        return "".join(out)

    def flush(self) -> str:
        held, self._held = "".join(self._held), []
        return held

    def _settle(self, out: list[str]) -> None:
        while self._held:
            match = self._pattern.match(self._held[-1])
            if match is None:
                if not self._pattern.fullmatch(self._held[-1], partial=True):
                    out.append(self.flush())
                return
            rest = self._held.pop()[match.end() :]
            if rest and self._held:
                self._held[-1] += rest
            elif rest:
                out.append(rest)
                return
