"""Bytes to text in pieces: UTF-8, UTF-16 with its mark, or a named encoding; every line end becomes one newline."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterable, Iterator

from perilune.documents.source import READ_BYTES, Source, read_bytes
from perilune.errors import DocumentError

SNIFF_BYTES = 8 << 10
MAX_CONTROL_SHARE = 0.05  # logs hold a few bells and backspaces, binary files far more
MAX_ENCODING_CHARS = 40

READ_ENCODINGS = "UTF-8, or UTF-16 with a byte order mark"
_MARK = "\ufeff"
# Tab, newline, form feed, carriage return and escape (coloured logs) belong to text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
# Python lists these among the text encodings, but no file is written in them.
_NOT_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}


def read_text(source: Source, chunk_bytes: int = READ_BYTES) -> Generator[str, None, None]:
    """The text of a source in pieces, wherever the chunks happen to end; no piece is empty."""
    return decode(read_bytes(source, chunk_bytes), source.name, source.encoding)


def decode(chunks: Iterable[bytes], name: str, encoding: str | None = None) -> Generator[str, None, None]:
    """Text of the chunks without a byte order mark, `\\r\\n` and `\\r` as `\\n`. Binary content is refused."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    at_start = True
    for text in _decoded(iter(chunks), name, encoding):
        if at_start and text:
            text, at_start = text.removeprefix(_MARK), False
        if piece := newlines.decode(text):
            yield piece
    if piece := newlines.decode("", final=True):
        yield piece


def check_encoding(encoding: str | None) -> None:
    """Refuses what is not the name of a character encoding."""
    if encoding is None:
        return
    known = isinstance(encoding, str) and 0 < len(encoding) <= MAX_ENCODING_CHARS and encoding.isascii()
    try:
        known = known and codecs.lookup(encoding).name.replace("_", "-") not in _NOT_CHARSETS
        if known:
            b"a".decode(encoding, errors="replace")  # refuses codecs that are no text encodings, such as base64
    except (LookupError, ValueError):
        known = False
    if not known:
        shown = f"{encoding}"[:MAX_ENCODING_CHARS]
        raise DocumentError(f"{shown!r} is no known encoding; name one such as utf-8, utf-16-le, latin-1 or cp1252")


def _decoded(chunks: Iterator[bytes], name: str, encoding: str | None) -> Iterator[str]:
    check_encoding(encoding)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= SNIFF_BYTES:
            break
    codec = encoding or _codec(head)
    _refuse_binary(head[:SNIFF_BYTES], name, codec)
    decoder = codecs.getincrementaldecoder(codec)()
    done = 0
    for chunk in _and_then(head, chunks):
        # The error counts from the bytes that the decoder still holds, not from this chunk.
        start = done - len(decoder.getstate()[0])
        yield _decode_chunk(decoder, chunk, False, start, name, encoding)
        done += len(chunk)
    yield _decode_chunk(decoder, b"", True, done - len(decoder.getstate()[0]), name, encoding)


def _and_then(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def _decode_chunk(
    decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool, start: int, name: str, forced: str | None
) -> str:
    try:
        return decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        where = f"{name} is not {error.encoding} at byte {start + error.start:,} ({error.reason})"
        if forced:
            raise DocumentError(f"{where}; name the encoding it was written in", "not text") from None
        raise DocumentError(
            f"{where}; without an encoding, {READ_ENCODINGS} is read: name the one it was written in, "
            "such as latin-1 or cp1252",
            "not text",
        ) from None


def _codec(head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    return "utf-16-be" if head.startswith(codecs.BOM_UTF16_BE) else "utf-8"


def _refuse_binary(head: bytes, name: str, codec: str) -> None:
    # Incremental, because the head may end inside a character.
    text = codecs.getincrementaldecoder(codec)(errors="replace").decode(head)
    nul = text.find("\0")
    if nul >= 0:
        raise DocumentError(
            f"{name} is not text: character {nul:,} is NUL. If it is UTF-16 without a byte order mark, "
            "name its encoding (utf-16-le or utf-16-be)",
            "binary",
        )
    controls = len(_CONTROL.findall(text))
    if controls > MAX_CONTROL_SHARE * len(text):
        raise DocumentError(
            f"{name} is not text: {controls:,} of its first {len(text):,} characters are control characters", "binary"
        )
