"""Text to segments: runs of token ids that begin with the name of their file and know the line of every token.

A segment ends at a line end where there is one in its last quarter. Its ids depend on the file and the settings alone,
not on how it was read, and more text at the end of a file changes at most the last two segments it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from perilune.documents.decode import read_text
from perilune.documents.names import header_text
from perilune.documents.pieces import pieces
from perilune.documents.source import READ_BYTES, Source
from perilune.errors import ContextError, RequestError
from perilune.text.tokenizer import Tokenizer

SEGMENT_TOKENS = 2_048
MIN_SEGMENT_TOKENS = 128
MAX_SEGMENT_TOKENS = 65_536
MAX_TOKENS = 2_097_152
BYTES_PER_TOKEN = 4  # of prose and code under the published vocabulary; a guess until some tokens are known
HEADER_SHARE = PIECE_SHARE = 8  # a header has at most 1/8 of a segment's tokens, a piece 1/8 as many characters
LINE_END_SHARE = 4


@dataclass(frozen=True, eq=False)
class Segment:
    """`lines[i]` is the line on which token i begins, from 1; the header's tokens have line 0."""

    index: int
    source: Source
    ids: np.ndarray  # int32
    lines: np.ndarray  # int32
    header_tokens: int

    def __len__(self) -> int:
        return len(self.ids)


def segments(
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    *,
    segment_tokens: int = SEGMENT_TOKENS,
    max_tokens: int = MAX_TOKENS,
    read_bytes: int = READ_BYTES,
) -> Segments:
    """The sources as a stream of segments; a ContextError as soon as one token more than `max_tokens` is certain."""
    return Segments(sources, tokenizer, segment_tokens, max_tokens, read_bytes)


def estimate_tokens(sources: Sequence[Source]) -> int:
    """How many tokens the sources will be, judged by their bytes."""
    return sum(-(-source.size // BYTES_PER_TOKEN) for source in sources)


class Segments:
    """An iterator of segments. `tokens` have come so far; `total` is an estimate until the end, where it is exact."""

    def __init__(
        self, sources: Sequence[Source], tokenizer: Tokenizer, segment_tokens: int, max_tokens: int, read_bytes: int
    ) -> None:
        _check_count("segment_tokens", segment_tokens, MIN_SEGMENT_TOKENS, MAX_SEGMENT_TOKENS)
        _check_count("max_tokens", max_tokens, 1, MAX_TOKENS)
        _check_count("read_bytes", read_bytes, 1, 1 << 30)
        self.tokens = 0
        self._sources = list(sources)
        self._tokenizer = tokenizer
        self._segment_tokens = segment_tokens
        self._max_tokens = max_tokens
        self._read_bytes = read_bytes
        # What each id stands for: bytes, for progress, and newlines, for line numbers.
        texts = [tokenizer.decode_bytes([token_id]) for token_id in range(tokenizer.n_vocab)]
        self._sizes = np.array([len(text) for text in texts], dtype=np.int32)
        self._newlines = np.array([text.count(b"\n") for text in texts], dtype=np.int32)
        self._size = sum(source.size for source in self._sources)
        self._finished_size = 0  # of the sources that are done
        self._current_size = 0  # of the source at hand, as far as it has come
        self._stream = self._segments()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Segment:
        return next(self._stream)

    @property
    def total(self) -> int:
        """Tokens so far, and as many for each byte to come as there were for those read."""
        return self._expect(self.tokens)

    def _expect(self, tokens: int) -> int:
        read = self._finished_size + self._current_size
        rate = tokens / read if read else 1 / BYTES_PER_TOKEN
        return tokens + round(max(0, self._size - read) * rate)

    def _segments(self) -> Iterator[Segment]:
        index = 0
        for source in self._sources:
            for segment in self._of_source(source, index):
                index += 1
                self.tokens += len(segment)
                body = segment.ids[segment.header_tokens :]
                self._current_size = min(self._current_size + int(self._sizes[body].sum()), source.size)
                yield segment
            self._finished_size += source.size
            self._current_size = 0

    def _of_source(self, source: Source, index: int) -> Iterator[Segment]:
        header = self._header(source.name)
        room = self._segment_tokens - len(header)
        ids: list[int] = []
        line_end = 0  # behind the last token that ends a line
        line = 1
        for text in pieces(read_text(source, self._read_bytes), self._segment_tokens // PIECE_SHARE):
            piece = self._tokenizer.encode(text)  # plain: the spelling of a special token stays a spelling
            if len(ids) + len(piece) > room:
                # What stays behind has under a quarter of the room and a piece at most 4/7 of it: always enough.
                cut = line_end if line_end > room - room // LINE_END_SHARE else len(ids)
                segment = self._segment(index, source, header, ids[:cut], line)
                yield segment
                line += int(self._newlines[ids[:cut]].sum())
                index, ids, line_end = index + 1, ids[cut:], 0
            ids += piece
            if text.endswith("\n"):
                line_end = len(ids)
            self._check_fits(len(header) + len(ids))
        if ids:
            yield self._segment(index, source, header, ids, line)

    def _segment(self, index: int, source: Source, header: list[int], ids: list[int], line: int) -> Segment:
        body = np.array(ids, dtype=np.int32)
        lines = np.zeros(len(header) + len(body), dtype=np.int32)
        newlines = self._newlines[body]
        lines[len(header) :] = line + np.cumsum(newlines, dtype=np.int32) - newlines
        return Segment(index, source, np.concatenate([np.array(header, dtype=np.int32), body]), lines, len(header))

    def _header(self, name: str) -> list[int]:
        """ "File: name" as a line; of a name that is too long, the end."""
        while True:
            ids = self._tokenizer.encode(header_text(name))
            if len(ids) <= self._segment_tokens // HEADER_SHARE:
                return ids
            name = "…" + name[len(name) // 4 + 1 :]

    def _check_fits(self, open_tokens: int) -> None:
        tokens = self.tokens + open_tokens
        if tokens > self._max_tokens:
            about = max(tokens, self._expect(self.tokens) if self.tokens else estimate_tokens(self._sources))
            raise ContextError(
                f"the documents do not fit: at most {self._max_tokens:,} tokens can be read, they have at least "
                f"{tokens:,} (about {about:,} by their size); name fewer files, or a part of them"
            )


def _check_count(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise RequestError(f"{name} must be an integer from {least:,} to {most:,}, got {str(value)[:40]!r}")
