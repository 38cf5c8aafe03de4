"""A content part of a message → where its picture, sound or clip comes from.

What names a place (a path, an address, the id of a file) goes through one gate, `Fetch`, which whoever asks decides on:
a program reads its own files, a server does not. What a part brings along (bytes, base64, a data URL) needs no gate.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perilune.errors import MediaError, MessageError
from perilune.fields import show_value
from perilune.media.source import Source
from perilune.text.media import PART_KINDS

# Of one item; base64 and data URLs are larger by a third.
MAX_ITEM_BYTES = {"image": 64 << 20, "audio": 512 << 20, "video": 1 << 30}
LONGEST_HEAD = 256  # of a data URL, up to its comma

Fetch = Callable[[str, str], Source]  # the kind of a medium and its place → what it is read from


def local(kind: str, place: str) -> Source:
    """The gate of a program that runs for its own user: files of this machine."""
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    if "://" in place:
        raise MediaError(f"{show_value(place)} is not fetched: save it first, and give the file")
    return Path(place)


def closed(kind: str, place: str) -> Source:
    """The gate of a server: nobody makes it read its own files or call at an address."""
    raise MediaError(f"no {kind} is read from {show_value(place)}: send it along, as base64 or as a data URL")


def part_source(part: Mapping[str, Any], where: str, fetch: Fetch) -> tuple[str, Source]:
    """The kind of a media part ("image", "audio", "video") and what it is read from.

    Raises MessageError where the part is not one, MediaError where what it brings cannot be taken.
    """
    word = part["type"]
    kind, given = PART_KINDS[word], part.get(word)
    if isinstance(given, Mapping):
        given = given.get("url", given.get("data")) if word != "input_audio" else given.get("data")
        if word == "input_audio" and isinstance(given, str) and not given.startswith("data:"):
            return kind, _decoded(given, kind, where)
    if isinstance(given, bytes):
        _check_size(len(given), kind, where)
        return kind, given
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str) or not given:
        raise MessageError(f"{where}.{word} must say where the {kind} is: an address, base64 or a file")
    if given.startswith("data:"):
        return kind, _data_url(given, kind, where)
    try:
        return kind, fetch(kind, given)
    except MediaError as error:
        raise MediaError(f"{where}: {error}") from None


def _data_url(url: str, kind: str, where: str) -> bytes:
    """data:TYPE;base64,… ; what the bytes are, their decoder finds out, whatever the type says."""
    head, comma, _ = url[: LONGEST_HEAD + 1].partition(",")
    if not comma or not head.endswith(";base64"):
        raise MediaError(f"{where}: a data URL is written data:TYPE;base64,… here")
    said = head.removeprefix("data:").partition("/")[0]
    if said not in (kind, "application"):
        raise MediaError(f"{where}: the data URL says {show_value(said, 40)}, but the part is for {kind}")
    return _decoded(url[len(head) + 1 :], kind, where)


def _decoded(text: str, kind: str, where: str) -> bytes:
    _check_size(len(text) * 3 // 4, kind, where)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError(f"{where}: what should be base64 is not") from None


def _check_size(size: int, kind: str, where: str) -> None:
    most = MAX_ITEM_BYTES[kind]
    if size > most:
        raise MediaError(f"{where}: the {kind} has {size:,} bytes; at most {most:,} are read")
