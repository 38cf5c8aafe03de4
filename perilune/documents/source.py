"""What is read: a file as it was when it was found, or the bytes of a pipe. A file that has changed is an error."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from perilune.errors import DocumentError

READ_BYTES = 64 << 10

# Without O_NONBLOCK, opening a file that was swapped for a named pipe would wait for a writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True)
class Stamp:
    """Equal stamps mean: the same file with the same content."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Source:
    """`name` is what people and the model see. A pipe has no path and no stamp; its bytes are in `data`."""

    name: str
    path: Path | None = None
    stamp: Stamp | None = None
    data: bytes = field(default=b"", repr=False)
    encoding: str | None = None  # forced; None reads UTF-8, and UTF-16 with its mark

    @property
    def size(self) -> int:
        return self.stamp.size if self.stamp else len(self.data)


def read_bytes(source: Source, chunk_bytes: int = READ_BYTES) -> Iterator[bytes]:
    """The bytes of a source in chunks, exactly those it had when it was stamped, or a DocumentError."""
    if source.path is None or source.stamp is None:
        for start in range(0, len(source.data), chunk_bytes):
            yield source.data[start : start + chunk_bytes]
        return
    try:
        yield from _read_file(source, source.path, source.stamp, chunk_bytes)
    except OSError as error:
        raise DocumentError(f"{source.name} cannot be read: {error.strerror or error}") from None


def _read_file(source: Source, path: Path, stamp: Stamp, chunk_bytes: int) -> Iterator[bytes]:
    with os.fdopen(os.open(path, _FLAGS), "rb", buffering=0) as file:
        _check_unchanged(source.name, stamp, os.fstat(file.fileno()))
        count = 0
        while chunk := file.read(chunk_bytes):
            count += len(chunk)
            if count > stamp.size:
                raise _changed(source.name, f"it had {stamp.size:,} bytes and now has more")
            yield chunk
        if count < stamp.size:
            raise _changed(source.name, f"it had {stamp.size:,} bytes and only {count:,} could be read")
        _check_unchanged(source.name, stamp, os.fstat(file.fileno()))
    try:
        status = os.stat(path)
    except OSError:
        raise _changed(source.name, "it is gone") from None
    _check_unchanged(source.name, stamp, status)


def _check_unchanged(name: str, before: Stamp, status: os.stat_result) -> None:
    now = Stamp.of(status)
    if not stat.S_ISREG(status.st_mode) or (now.device, now.inode) != (before.device, before.inode):
        raise _changed(name, "another file stands in its place")
    if now.size != before.size:
        raise _changed(name, f"it had {before.size:,} bytes and now has {now.size:,}")
    if now != before:
        raise _changed(name, "it was written to")


def _changed(name: str, how: str) -> DocumentError:
    return DocumentError(
        f"{name} changed while it was in use: {how}; try again when nothing writes to it, or read a copy", "changed"
    )
