"""What a medium is read from: bytes, or the path of a file; its size is checked before anything is read."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

from perilune.errors import MediaError
from perilune.fields import show_value

Source = bytes | str | os.PathLike[str]


def open_source(source: Source, max_bytes: int, what: str) -> BinaryIO:
    """A seekable file of at most `max_bytes` that is not empty; `what` names it in errors: "the picture"."""
    if isinstance(source, bytes):
        _check_size(len(source), max_bytes, what)
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        raise MediaError(f"{what} must be bytes or the path of a file, got {type(source).__name__}")
    path = Path(source)
    name = show_value(path.name)
    try:
        # Only regular files: opening a pipe would wait for whoever writes it.
        if not path.is_file():
            raise MediaError(f"{what}: there is no file {name}")
        file = path.open("rb")
    except OSError as error:
        raise MediaError(f"{what}: {name} cannot be read: {error.strerror}") from None
    try:
        _check_size(os.fstat(file.fileno()).st_size, max_bytes, what)
    except MediaError:
        file.close()
        raise
    return file


def _check_size(size: int, max_bytes: int, what: str) -> None:
    if not size:
        raise MediaError(f"{what} is empty: 0 bytes")
    if size > max_bytes:
        raise MediaError(f"{what} has {size:,} bytes; at most {max_bytes:,} are read")
