"""What the user names to a list of sources: files as given, folders walked in order, a pipe; the rest is reported."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from perilune.documents.decode import check_encoding, read_text
from perilune.documents.names import BINARY_ENDINGS, clean_name, given_name, name_below, unique_name
from perilune.documents.source import Source, Stamp
from perilune.documents.walk import kind, walk
from perilune.errors import DocumentError

MAX_FILES = 20_000
MAX_FILE_BYTES = 64 << 20
MAX_PIPE_BYTES = 64 << 20
MAX_TOTAL_BYTES = 256 << 20
READ_PIPE_BYTES = 1 << 20
MAX_SHOWN_CHARS = 200

PIPE = "-"
PIPE_NAME = "stdin"
REPEATED = "repeated"

Named = str | os.PathLike[str]


@dataclass(frozen=True)
class Skipped:
    """Something that is not read: `reason` is a word or two to count by, `detail` says it in full."""

    path: str
    reason: str
    detail: str


@dataclass
class Collection:
    """What will be read, in order, and what will not."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)

    def summary(self) -> str:
        """Such as "12 skipped (9 binary, 3 empty)"; empty when nothing was skipped."""
        return _summary(self.skipped)


def collect(
    paths: Named | Iterable[Named],
    *,
    stdin: IO[bytes] | None = None,
    include_hidden: bool = False,
    encoding: str | None = None,
) -> Collection:
    """Finds everything that is named and reads each file through once, so that faults show before any work.

    "-" stands for `stdin`, a pipe; a `stdin` that no "-" asks for comes last. A fault of something that was named is
    an error; what is at fault in a folder is skipped and reported. `encoding` holds for all of them.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if len(named) > MAX_FILES:
        raise DocumentError(f"{len(named):,} files were named, the most is {MAX_FILES:,}; name their folder instead")
    check_encoding(encoding)
    if stdin is not None and PIPE not in named:
        named.append(PIPE)
    if not named:
        raise DocumentError("there is nothing to read: name a file or a folder, or send text through a pipe")
    collector = _Collector(include_hidden, encoding)
    for given in named:
        if given == PIPE:
            collector.pipe(stdin)
        else:
            collector.named(given)
    return collector.found


class _Collector:
    def __init__(self, include_hidden: bool, encoding: str | None) -> None:
        self.found = Collection()
        self._include_hidden = include_hidden
        self._encoding = encoding
        self._read: set[tuple[int, int]] = set()  # files and named folders by device and inode
        self._names: set[str] = set()
        self._bytes = 0
        self._pipe_read = False

    def named(self, given: Named) -> None:
        path, shown = _path(given)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise DocumentError(f"there is no file or folder {shown!r}") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DocumentError(f"{shown!r} cannot be read: {why}") from None
        if (status.st_dev, status.st_ino) in self._read:
            self._skip(shown, REPEATED, "it is among what was named before and is read once")
        elif stat.S_ISDIR(status.st_mode):
            self._read.add((status.st_dev, status.st_ino))
            self._folder(path, shown)
        elif stat.S_ISREG(status.st_mode):
            self._add(self._checked(given_name(path), path, status))
        else:
            raise DocumentError(f"{shown!r} is {kind(status.st_mode)}; name a file or a folder, or send a pipe to -")

    def pipe(self, stdin: IO[bytes] | None) -> None:
        if self._pipe_read:
            self._skip(PIPE, REPEATED, "a pipe is read once")
            return
        self._pipe_read = True
        if stdin is None or stdin.isatty():
            raise DocumentError("- stands for a pipe, and there is none: send one, as in `command | perilune …`")
        source = Source(PIPE_NAME, data=_read_pipe(stdin), encoding=self._encoding)
        _check_text(source)
        self._add(source)

    def _folder(self, root: Path, shown: str) -> None:
        name, first = given_name(root), len(self.found.skipped)
        found_any = False
        try:
            for entry in walk(root, self._include_hidden):
                entry_name = name_below(name, entry.inside)
                if entry.status is None:
                    self._skip(entry_name, entry.reason, entry.detail)
                elif (entry.status.st_dev, entry.status.st_ino) in self._read:
                    self._skip(entry_name, REPEATED, "it was read before, maybe under another name")
                    found_any = True
                elif source := self._try(entry_name, entry.path, entry.status):
                    self._add(source)
                    found_any = True
        except OSError as error:
            raise DocumentError(f"the folder {shown!r} cannot be read: {error.strerror or error}") from None
        if not found_any:
            left = _summary(self.found.skipped[first:]) or "it is empty"
            raise DocumentError(f"the folder {shown!r} holds no text to read: {left}")

    def _try(self, name: str, path: Path, status: os.stat_result) -> Source | None:
        try:
            return self._checked(name, path, status)
        except DocumentError as fault:
            self._skip(name, fault.reason, str(fault))
            return None

    def _checked(self, name: str, path: Path, status: os.stat_result) -> Source:
        name = unique_name(name, path, self._names)
        if path.suffix.lower() in BINARY_ENDINGS:
            raise DocumentError(f"{name} is not text: {path.suffix} files are binary; convert it to text", "binary")
        if status.st_size > MAX_FILE_BYTES:
            raise DocumentError(f"{name} has {status.st_size:,} bytes, the most is {MAX_FILE_BYTES:,}", "too large")
        source = Source(name, path, Stamp.of(status), encoding=self._encoding)
        _check_text(source)
        return source

    def _add(self, source: Source) -> None:
        self._bytes += source.size
        if self._bytes > MAX_TOTAL_BYTES:
            raise DocumentError(f"the documents hold more than {MAX_TOTAL_BYTES:,} bytes; name fewer or smaller ones")
        if len(self.found.sources) >= MAX_FILES:
            raise DocumentError(f"there are more than {MAX_FILES:,} files to read; name a smaller folder")
        if source.stamp is not None:
            self._read.add((source.stamp.device, source.stamp.inode))
        self._names.add(source.name)
        self.found.sources.append(source)

    def _skip(self, path: str, reason: str, detail: str) -> None:
        self.found.skipped.append(Skipped(clean_name(path), reason, detail))


def _path(given: object) -> tuple[Path, str]:
    """A path and how it is shown in a message."""
    raw = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(raw, str) or not raw:
        raise DocumentError(f"a document is named by a path, got {str(given)[:MAX_SHOWN_CHARS]!r}")
    # Unlike Path, os.path takes an unknown ~user for what it is: the name of a file.
    return Path(os.path.expanduser(raw)), clean_name(raw)[:MAX_SHOWN_CHARS]


def _check_text(source: Source) -> None:
    """Reads it to the end, so that a fault in its middle shows now."""
    if sum(map(len, read_text(source))) == 0:
        raise DocumentError(f"{source.name} is empty", "empty")


def _read_pipe(stdin: IO[bytes]) -> bytes:
    stream = getattr(stdin, "buffer", stdin)  # sys.stdin is text over bytes
    data = bytearray()
    try:
        while chunk := stream.read(READ_PIPE_BYTES):
            data += chunk
            if len(data) > MAX_PIPE_BYTES:
                raise DocumentError(f"the pipe holds more than {MAX_PIPE_BYTES:,} bytes; send less, or name a file")
    except OSError as error:
        raise DocumentError(f"the pipe cannot be read: {error.strerror or error}") from None
    return bytes(data)


def _summary(skipped: list[Skipped]) -> str:
    counts = Counter(one.reason for one in skipped).most_common()
    listed = ", ".join(f"{count:,} {reason}" for reason, count in counts)
    return f"{len(skipped):,} skipped ({listed})" if skipped else ""
