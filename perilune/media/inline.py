"""Media that a message brings along: data URLs, read strictly. Their size is known before a byte is decoded."""

from __future__ import annotations

import binascii
import re

from perilune.errors import MediaError
from perilune.media.kinds import HEAD_BYTES, check_format, format_said

LONGEST_HEAD = 256  # of a data URL, up to its comma
# A media type; parameters such as codecs=opus say nothing that the content does not say.
_HEAD = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)(?:;[a-z0-9-]+=[a-z0-9.+_-]+)*;base64", re.ASCII | re.IGNORECASE)


def is_data_url(place: str) -> bool:
    return place[:5].lower() == "data:"


def data_url(media_type: str, base64: str) -> str:
    return f"data:{media_type};base64,{base64}"


def type_said(url: str) -> str:
    """The media type that a data URL begins with. Raises MediaError where it is not written as it is read here."""
    return _head(url)[1].lower()


def read_data_url(url: str, kind: str | None, most: int) -> bytes:
    """The bytes of data:TYPE;base64,… of at most `most`; they are of the type that is said, and it is one of `kind`.

    Without a kind any type will do, and nothing is held against it. Raises MediaError.
    """
    head = _head(url)
    if kind:
        format_said(head[1], kind)
    body = head.end() + 1
    size = (len(url) - body) * 3 // 4
    if size > most:
        raise MediaError(f"the data URL holds {size:,} bytes; at most {most:,} are read")
    try:
        data = binascii.a2b_base64(url[body:], strict_mode=True)
    except (binascii.Error, ValueError):
        raise MediaError("what should be base64 is not; it has the letters A-Z a-z 0-9 + / and ends with =") from None
    if kind:
        check_format(data[:HEAD_BYTES], kind, head[1])
    return data


def _head(url: str) -> re.Match[str]:
    comma = url.find(",", 0, LONGEST_HEAD + 1)
    head = _HEAD.fullmatch(url, 0, comma) if comma >= 0 else None
    if head is None:
        raise MediaError("a data URL is written data:TYPE;base64,… here; one in percent-encoding is not read")
    return head
