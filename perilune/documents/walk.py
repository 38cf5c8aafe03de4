"""Walks a folder in sorted order: every file with its status, everything that is left out with the reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from perilune.errors import DocumentError

MAX_ENTRIES = 500_000  # everything one walk looks at, skipped or not
MAX_DEPTH = 64

SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", ".git", ".hg", ".svn"})
VENV_MARK = "pyvenv.cfg"


@dataclass(frozen=True)
class Entry:
    """A file to read (`status` is set), or something left out (`reason` and `detail` are)."""

    inside: str  # the path inside the folder
    path: Path
    status: os.stat_result | None = None
    reason: str = ""
    detail: str = ""


class _Left(Exception):
    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def walk(root: Path, include_hidden: bool = False) -> Iterator[Entry]:
    """Everything in a folder, folders where their names stand in the order. An unreadable root is an OSError."""
    room = MAX_ENTRIES
    top = os.path.realpath(root)
    seen = {_identity(os.stat(root))}
    names = _list(root, room)
    room -= len(names)
    stack = [root / name for name in reversed(names)]
    while stack:
        path = stack.pop()
        inside = path.relative_to(root)
        try:
            entry = _look(path, inside, top, include_hidden)
            if entry is not None:
                yield entry
                continue
            # A folder can meet itself again only through a mount, but then without end.
            identity = _identity(os.lstat(path))
            if identity in seen:
                raise _Left("repeated", "this folder was walked before")
            seen.add(identity)
            names = _list(path, room)
            if VENV_MARK in names:
                raise _Left("tool folder", "it is a virtual environment")
        except _Left as left:
            yield Entry(inside.as_posix(), path, None, left.reason, left.detail)
        except OSError as error:
            yield Entry(inside.as_posix(), path, None, "unreadable", error.strerror or str(error))
        else:
            room -= len(names)
            stack += [path / name for name in reversed(names)]


def kind(mode: int) -> str:
    """What something is that is neither a file nor a folder."""
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def _look(path: Path, inside: Path, top: str, include_hidden: bool) -> Entry | None:
    """The file at a path; None for a folder to walk."""
    if _is_hidden(path.name) and not include_hidden:
        raise _Left("hidden", "its name begins with a dot")
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        if path.name in SKIPPED_FOLDERS:
            raise _Left("tool folder", "it holds what tools have made")
        if len(inside.parts) > MAX_DEPTH:
            raise _Left("too deep", f"it lies more than {MAX_DEPTH} folders deep")
        return None
    target = path
    if stat.S_ISLNK(status.st_mode):
        target = _followed(path, top, include_hidden)
        status = os.lstat(target)
    if not stat.S_ISREG(status.st_mode):
        raise _Left("not a file", f"it is {kind(status.st_mode)}")
    return Entry(inside.as_posix(), target, status)


def _followed(link: Path, top: str, include_hidden: bool) -> Path:
    """Where a link leads, if that is a file the walk could have come to by itself."""
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(top):
        raise _Left("link", "it is a link that leads out of the folder")
    parts = target.relative_to(top).parts
    if SKIPPED_FOLDERS & set(parts[:-1]) or (not include_hidden and any(map(_is_hidden, parts))):
        raise _Left("link", "it is a link to something that is skipped")
    if target.is_dir():
        raise _Left("link", "it is a link to a folder")
    if not target.exists():
        raise _Left("link", "it is a link to nothing")
    return target


def _list(folder: Path, room: int) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, room + 1)]
    if len(names) > room:
        raise DocumentError(f"the folder holds more than {MAX_ENTRIES:,} entries; name a smaller folder")
    return sorted(names)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
