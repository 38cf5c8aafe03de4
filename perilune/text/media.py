"""How media stand in a prompt: placeholders, or the expanded pads of items whose size is known."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perilune.errors import MessageError
from perilune.text import checks

VIDEO_PLACEHOLDER = "<|kimi_k25_video_placeholder|>"
PART_KINDS = {
    "image": "image",
    "image_url": "image",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
    "audio": "audio",
    "input_audio": "audio",
}

MAX_ITEM_TOKENS = 65_536
MAX_CHUNKS = 65_536
# Each item and chunk has its own limit; this one bounds their product.
MAX_MEDIA_TOKENS = 1 << 20
MAX_SECONDS = 100 * 3600


@dataclass(frozen=True)
class Block:
    """One `<|media_begin|> … <|media_end|>` with the text that stands before it."""

    before: str
    word: str
    pads: int


class MediaQueue:
    """Hands out the media of a prompt in order of appearance and checks that they fit its parts."""

    def __init__(self, media: Sequence[Any] | None):
        self._items = None if media is None else list(checks.sequence(media, "media"))
        self._next = 0
        self._tokens = 0

    def take(self, part_kind: str, where: str) -> list[Block] | None:
        """The blocks of the next item; None when the prompt is not to be expanded."""
        if self._items is None:
            return None
        if self._next >= len(self._items):
            raise MessageError(f"{where}: media lists {len(self._items)} items, the messages show more")
        name = f"media[{self._next}]"
        item = checks.mapping(self._items[self._next], name)
        self._next += 1
        if item.get("type") != part_kind:
            raise MessageError(f"{name}.type must be {part_kind!r} as in {where}, got {item.get('type')!r}")
        blocks: list[Block] = []
        for block in _blocks(item, part_kind, name):
            self._tokens += block.pads
            if self._tokens > MAX_MEDIA_TOKENS:
                raise MessageError(f"{name}: the media of a prompt may have {MAX_MEDIA_TOKENS} tokens in all")
            blocks.append(block)
        return blocks

    def check_empty(self) -> None:
        if self._items is not None and self._next < len(self._items):
            raise MessageError(f"media lists {len(self._items)} items, the messages show only {self._next}")


def _blocks(item: Mapping[str, Any], part_kind: str, where: str) -> Iterator[Block]:
    if part_kind != "video":
        yield Block("", part_kind, _tokens(item, where))
        return
    chunks = checks.sequence(item.get("chunks"), f"{where}.chunks")
    if not 1 <= len(chunks) <= MAX_CHUNKS:
        raise MessageError(f"{where}.chunks must hold 1 to {MAX_CHUNKS} chunks, got {len(chunks)}")
    for index, chunk in enumerate(chunks):
        name = f"{where}.chunks[{index}]"
        chunk = checks.mapping(chunk, name)
        yield Block(clock(chunk.get("timestamp"), f"{name}.timestamp"), "video", _tokens(chunk, name))


def _tokens(item: Mapping[str, Any], where: str) -> int:
    return checks.whole_number(item.get("tokens"), f"{where}.tokens", 1, MAX_ITEM_TOKENS)


def clock(seconds: Any, where: str) -> str:
    """HH:MM:SS.mmm with the milliseconds truncated."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise MessageError(f"{where} must be a number of seconds")
    if not 0 <= seconds < MAX_SECONDS:
        raise MessageError(f"{where} must be from 0 to {MAX_SECONDS} seconds, got {seconds}")
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}.{int(seconds % 1 * 1000):03d}"
