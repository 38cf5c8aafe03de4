"""The media of a conversation: content parts → bytes or files, under the caps that stand here, all of them.

A part brings its bytes along (bytes, base64, a data URL) or names a place: a path, an address, the id of a kept file as
ms://ID. Places go through one gate, `Fetch`, which whoever asks decides on: a program reads its own files, a server
reads what a client may have. Media are opened once every part has been looked at, and the model can take them all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from perilune.errors import MediaError, MessageError
from perilune.fields import show_value
from perilune.media.decoded import Decoded
from perilune.media.inline import data_url, is_data_url, read_data_url, type_said
from perilune.media.kinds import HEAD_BYTES, check_format, kind_of
from perilune.media.source import Source, open_source
from perilune.text.media import PART_KINDS

MAX_ITEMS = 256  # media and files of a conversation
MAX_ITEM_BYTES = {"image": 64 << 20, "audio": 512 << 20, "video": 1 << 30}
MAX_TOTAL_BYTES = 2 << 30  # of all of them
MAX_TEXT_BYTES = 8 << 20  # of all files that are text
# What comes from elsewhere is held in memory.
MAX_FETCHED_BYTES = {"image": 32 << 20, "audio": 64 << 20, "video": 256 << 20}
MAX_FETCHED_TOTAL = 256 << 20
MAX_FETCH_SECONDS = 120.0  # for all of a conversation, one after the other

KEPT = "ms://"  # begins the place of a kept file, as K2's hosted service spells it
SENSE_OF = {"image": "vision", "video": "vision", "audio": "hearing"}
LACKS = {"vision": "no eyes", "hearing": "no ears"}
_NAMES = ("url", "data", "file_id", "file_data")

T = TypeVar("T")
Fetch = Callable[[str, str], Source]  # the kind of an item ("file": its content says) and its place → what is read


class Known:
    """What a model has perceived already, such as sound that it heard as it came: nothing is fetched for it. No request
    can bring one along; only a program that holds the model has any."""


@dataclass(frozen=True)
class MediaItem:
    """A medium and where it comes from. `where` names its part as the client wrote it, for errors."""

    kind: str  # "image", "audio", "video", or "file", whose content says what it is
    given: Source | Known | Decoded
    where: str

    @property
    def part(self) -> dict[str, Any]:
        """The content part that stands for it in a message."""
        return {"type": self.kind, self.kind: self}


@dataclass(frozen=True)
class Medium:
    """An item that has been fetched: bytes or the path of a file, whose first bytes are of the kind; or arrays."""

    kind: str
    source: Source | Known | Decoded
    where: str


def local(kind: str, place: str) -> Source:
    """The gate of a program that runs for its own user: files of this machine."""
    path = place.removeprefix("file://")
    if "://" in path:
        raise MediaError(
            f"{show_value(place)} lies elsewhere, and nothing is fetched from there; name a file, or give bytes"
        )
    return Path(path)


def gather(
    messages: Sequence[Any], senses: Collection[str], fetch: Fetch = local
) -> tuple[Sequence[Any], list[Medium]]:
    """The messages, with every part of type "file" as what it is, and their media in order of appearance.

    `senses` are "vision" and "hearing", or what the model has of them. Raises MessageError or MediaError with the name
    of the part; what is malformed beside media stays as it is, for `perilune.render` to refuse.
    """
    settling = _Settling(fetch)
    settled = [settling.message(message, f"messages[{i}]") for i, message in enumerate(_listed(messages))]
    for item in settling.items:
        if SENSE_OF[item.kind] not in senses:
            lacks = LACKS[SENSE_OF[item.kind]]
            raise MessageError(f"{item.where}: this model has {lacks}; send it no {item.kind}, or serve one that has")
    return (settled if settling.seen else messages), list(_fetched(settling.items, fetch))


def item_of(part: Mapping[str, Any], where: str) -> MediaItem:
    """A content part in any of OpenAI's spellings, or with bytes, a path or what is decoded from a program."""
    word = part["type"]
    given, kind = part.get(word), PART_KINDS.get(word, "file")
    if isinstance(given, MediaItem):
        return given
    if isinstance(given, Mapping):
        given = _place(given, kind, f"{where}.{word}")
    if isinstance(given, Decoded):
        if given.kind != kind:
            raise MessageError(f"{where}.{word} holds decoded {given.kind}, but the part is of type {word!r}")
    elif not isinstance(given, bytes | str | os.PathLike) or not given:
        raise MessageError(f"{where}.{word} must say where the {kind} is: a data URL, an address or the id of a file")
    return MediaItem(kind, given, where)


class _Settling:
    """A walk over messages that collects their media and makes text of files that are text."""

    def __init__(self, fetch: Fetch):
        self.fetch, self.items, self.seen, self._text_bytes = fetch, list[MediaItem](), 0, 0

    def message(self, message: Any, where: str) -> Any:
        content = _listed(message.get("content") if isinstance(message, Mapping) else None)
        if not any(_is_medium(part) for part in content):
            return message
        return {**message, "content": [self._part(part, f"{where}.content[{i}]") for i, part in enumerate(content)]}

    def _part(self, part: Any, where: str) -> Any:
        if not _is_medium(part):
            return part
        item, self.seen = item_of(part, where), self.seen + 1
        if self.seen > MAX_ITEMS:
            raise MessageError(f"{item.where}: a conversation may have {MAX_ITEMS} media and files, not one more")
        if item.kind == "file":
            item = _told(self._as_it_is, item)
        if isinstance(item, str):
            return {"type": "text", "text": item}
        self.items.append(item)
        return item.part

    def _as_it_is(self, item: MediaItem) -> MediaItem | str:
        """A file as the medium that it says or its first bytes say it is, or else as the text that it holds."""
        most = max(MAX_ITEM_BYTES.values())
        if isinstance(item.given, str) and is_data_url(item.given):
            kind = type_said(item.given).partition("/")[0]
            source: Source = b"" if kind in SENSE_OF else read_data_url(item.given, None, MAX_TEXT_BYTES)
        elif isinstance(item.given, str) and item.given.startswith(KEPT):
            source = self.fetch(item.kind, item.given)
            with open_source(source, most, "the file") as file:
                kind = kind_of(file.read(HEAD_BYTES))
        else:
            raise MediaError("a file is a data URL, or the id of one that is kept here")
        if kind in SENSE_OF:
            return replace(item, kind=kind)
        with open_source(source, MAX_TEXT_BYTES - self._text_bytes, "the text of files") as file:
            raw = file.read()
        self._text_bytes += len(raw)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise MediaError("the file is neither a picture, a sound, a clip nor UTF-8 text; send what it says as text")
        return text


def _listed(content: Any) -> Sequence[Any]:
    return content if isinstance(content, Sequence) and not isinstance(content, str | bytes) else ()


def _is_medium(part: Any) -> bool:
    word = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(word, str) and (word in PART_KINDS or word == "file")


def _place(given: Mapping[str, Any], kind: str, at: str) -> Any:
    """What an object such as {"url": …} or {"data": …, "format": …} names."""
    named = [name for name in _NAMES if given.get(name) is not None]
    if len(named) != 1:
        raise MessageError(f"{at} must have one of {', '.join(_NAMES)}, got {', '.join(named) or 'none'}")
    value = given[named[0]]
    if not isinstance(value, str):
        raise MessageError(f"{at}.{named[0]} must be a text")
    if named[0] == "file_id":
        return KEPT + value
    if named[0] == "data" and not is_data_url(value):
        if not isinstance(given.get("format"), str):
            raise MessageError(f'{at}.format must say what the data are, such as "wav"')
        return data_url(f"{kind}/{given['format']}", value)
    return value


def _fetched(items: list[MediaItem], fetch: Fetch) -> Iterator[Medium]:
    total = 0
    for item in items:
        if isinstance(item.given, Known):
            yield Medium(item.kind, item.given, item.where)
            continue
        source, size = _told(lambda item: _opened(item, fetch), item)
        total += size
        if total > MAX_TOTAL_BYTES:
            raise MediaError(f"{item.where}: the media of a conversation may have {MAX_TOTAL_BYTES:,} bytes in all")
        yield Medium(item.kind, source, item.where)


def _opened(item: MediaItem, fetch: Fetch) -> tuple[Source | Decoded, int]:
    """What an item is read from, and its size."""
    given, most = item.given, MAX_ITEM_BYTES[item.kind]
    assert not isinstance(given, Known)
    if isinstance(given, Decoded):
        if given.data.nbytes > most:
            raise MediaError(f"the decoded {item.kind} has {given.data.nbytes:,} bytes; at most {most:,} are taken")
        return given, given.data.nbytes
    if isinstance(given, str) and is_data_url(given):
        source: Source = read_data_url(given, item.kind, most)
    else:
        source = given if isinstance(given, bytes) else fetch(item.kind, os.fspath(given))
    with open_source(source, most, f"the {item.kind}") as file:
        check_format(file.read(HEAD_BYTES), item.kind)
        return source, file.seek(0, os.SEEK_END)


def _told(act: Callable[[MediaItem], T], item: MediaItem) -> T:
    """What `act` makes of an item; its errors say which part it is."""
    try:
        return act(item)
    except MediaError as error:
        raise MediaError(f"{item.where}: {error}") from None
