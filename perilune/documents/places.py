"""Where tokens of a segment stand: the file, the lines, and what the lines say, read anew from an unchanged file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from perilune.documents.decode import read_text
from perilune.documents.segments import Segment
from perilune.documents.source import Source
from perilune.errors import RequestError
from perilune.text.tokenizer import Tokenizer

MAX_PLACE_CHARS = 32_768


@dataclass(frozen=True)
class Place:
    """`text` is the whole lines, or only the tokens' own text where the lines are too long to show."""

    name: str
    path: Path | None  # None for a pipe
    first_line: int
    last_line: int
    text: str


class Places:
    """Keeps the segments it is shown; ask by segment and range of tokens (header included, as in `Segment.ids`)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._segments: list[Segment] = []

    def __len__(self) -> int:
        return len(self._segments)

    def keep(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """The same segments, kept on their way."""
        for segment in segments:
            self.add(segment)
            yield segment

    def add(self, segment: Segment) -> None:
        if segment.index != len(self._segments):
            raise RequestError(f"segment {segment.index} was added where {len(self._segments)} is next")
        self._segments.append(segment)

    def lines(self, index: int, start: int, end: int) -> tuple[Source, int, int]:
        """The source and the first and last line of tokens `start` to `end` (not included); reads no file."""
        segment, start, end = self._range(index, start, end)
        return segment.source, int(segment.lines[start]), int(segment.lines[end - 1])

    def place(self, index: int, start: int, end: int) -> Place:
        """With the text; a DocumentError when the file has changed since."""
        source, first, last = self.lines(index, start, end)
        text = read_lines(source, first, last)
        if text is None:
            segment, start, end = self._range(index, start, end)
            text = self._tokenizer.decode(segment.ids[start:end])[:MAX_PLACE_CHARS]
        return Place(source.name, source.path, first, last, text)

    def _range(self, index: int, start: int, end: int) -> tuple[Segment, int, int]:
        """The range without the header; the header alone stands for the first token after it."""
        if not 0 <= index < len(self._segments):
            raise RequestError(f"there is no segment {index}; {len(self._segments)} are known")
        segment = self._segments[index]
        if not 0 <= start < end <= len(segment):
            raise RequestError(f"tokens {start} to {end} are no range in the {len(segment)} of segment {index}")
        start = max(start, segment.header_tokens)
        return segment, start, max(end, start + 1)


def read_lines(source: Source, first: int, last: int, limit: int = MAX_PLACE_CHARS) -> str | None:
    """Lines `first` to `last` without the last line end; None when they have more than `limit` characters."""
    line, size = 1, 0
    kept: list[str] = []
    with closing(read_text(source)) as texts:
        for text in texts:
            newlines = text.count("\n")
            if line + newlines >= first:
                # What follows the last newline begins a line that the next piece goes on with.
                kept.append("\n".join(text.split("\n")[max(0, first - line) : last - line + 1]))
                size += len(kept[-1])
            line += newlines
            if size > limit or line > last:
                break
    return "".join(kept) if size <= limit else None
