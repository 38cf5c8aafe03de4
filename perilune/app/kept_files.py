"""Files that users brought: bytes on disk by the hash of their content, and what is known of them in the database.

Equal bytes lie there once, whoever brought them, but nobody sees that from outside. A file is deleted with the last
chat or project that uses it, its bytes with the last file that has them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perilune.app.asked import InUse, Missing
from perilune.app.database import Database, new_id
from perilune.server.kept import FullError, sync_folder

MOST_FILES = 100_000  # of one owner
MOST_BYTES = 64 << 30  # of all files together
UNUSED_SECONDS = 7 * 24 * 3600  # a file that nothing uses for so long is deleted at the next start
PART = ".part"  # ends the name of a file that is being written

Row = dict[str, Any]
OnGone = Callable[[str, list[tuple[str, Path]]], None]


@dataclass(frozen=True)
class NewPart:
    """A text out of a file, as it will be read: UTF-8 with plain line ends, at `path` until it is kept."""

    name: str
    path: Path
    hash: str
    lines: int
    tokens: int


class KeptFiles:
    """The files of everybody, in one folder."""

    def __init__(self, database: Database, folder: Path, most_bytes: int = MOST_BYTES):
        self.db, self.folder, self.most_bytes = database, folder, most_bytes
        self.on_gone: OnGone = lambda owner, texts: None  # told of texts that are about to leave the disk
        self._gone: list[tuple[str, list[tuple[str, Path]]]] = []
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, digest: str) -> Path:
        return self.folder / digest

    def new_path(self) -> Path:
        """For bytes that come in."""
        return self.folder / f"{new_id()}{PART}"

    def used_bytes(self) -> int:
        return sum(entry.stat().st_size for entry in os.scandir(self.folder))

    def room(self) -> int:
        return self.most_bytes - self.used_bytes()

    def add(self, owner: str, file: Row, path: Path, parts: Sequence[NewPart]) -> Row:
        """Takes the bytes at `path` and the texts of the parts over; `file` has hash, name, kind, bytes, tokens and
        problem."""
        count = self.db.count("files where owner = ?", owner)
        if count >= MOST_FILES:
            raise FullError(f"{count:,} files are kept already; delete some first")
        with self._lock:
            for source, digest in [(path, file["hash"]), *((part.path, part.hash) for part in parts)]:
                self._take(source, digest)
            sync_folder(self.folder)
            made = {"id": new_id(), "owner": owner, **file, "created": time.time()}
            with self.db.together():
                self.db.insert("files", made)
                for place, part in enumerate(parts):
                    row = {"name": part.name, "hash": part.hash, "lines": part.lines, "tokens": part.tokens}
                    row["bytes"] = self.path(part.hash).stat().st_size
                    self.db.insert("parts", {"file": made["id"], "place": place, **row})
        return made

    def get(self, owner: str, name: str) -> Row:
        """Raises Missing."""
        found = self.db.one("select * from files where id = ? and owner = ?", name, owner)
        if found is None:
            raise Missing("file", name)
        return found

    def parts(self, name: str) -> list[Row]:
        return self.db.all("select name, hash, bytes, lines, tokens from parts where file = ? order by place", name)

    def use(self, names: Iterable[str], *, chat: str | None = None, project: str | None = None) -> None:
        for name in dict.fromkeys(names):
            self.db.insert("uses", {"file": name, "chat": chat, "project": project})

    def used_by(self, *, chat: str | None = None, project: str | None = None) -> list[str]:
        """In the order in which they came."""
        query = "select file from uses where chat is ? and project is ? order by place"
        return list(dict.fromkeys(row["file"] for row in self.db.all(query, chat, project)))

    def let_go(self, owner: str, names: Iterable[str]) -> None:
        """Forgets those of the files that nothing uses any more; `sweep` is to follow."""
        for name in names:
            with self.db.together():
                texts = [(part["name"], self.path(part["hash"])) for part in self.parts(name)]
                query = "delete from files where id = ? and owner = ? and id not in (select file from uses)"
                if self.db.run(query, name, owner):
                    self._gone.append((owner, texts))

    def drop(self, owner: str, name: str) -> None:
        """Raises InUse for a file that a chat or a project still has."""
        self.get(owner, name)
        self.let_go(owner, [name])
        if self.db.one("select 1 from files where id = ?", name):
            raise InUse("a chat or a project uses this file; delete that first")
        self.sweep()

    def sweep(self) -> None:
        """After something was deleted: nothing of it stays on the disk."""
        gone, self._gone = self._gone, []
        for owner, texts in gone:
            self.on_gone(owner, [(name, path) for name, path in texts if not self._has(owner, name, path.name)])
        self._remove_unknown()
        self.db.scrub()

    def _has(self, owner: str, name: str, digest: str) -> bool:
        query = "select 1 from parts p join files f on f.id = p.file where f.owner = ? and p.name = ? and p.hash = ?"
        return self.db.one(query, owner, name, digest) is not None

    def tidy(self) -> None:
        """At the start: what a killed process left, and files that nothing has used for long."""
        old = time.time() - UNUSED_SECONDS
        self.db.run("delete from files where created < ? and id not in (select file from uses)", old)
        for path in self.folder.glob(f"*{PART}"):
            path.unlink(missing_ok=True)
        self._remove_unknown()

    def _remove_unknown(self) -> None:
        with self._lock:
            known = {row["hash"] for row in self.db.all("select hash from files union select hash from parts")}
            for entry in os.scandir(self.folder):
                if not entry.name.endswith(PART) and entry.name not in known:
                    Path(entry.path).unlink(missing_ok=True)

    def _take(self, source: Path, digest: str) -> None:
        target = self.path(digest)
        if source == target:
            return
        if target.exists():
            source.unlink(missing_ok=True)
        elif source.exists():  # two parts may hold the same text: the first one has been taken
            with source.open("rb") as file:
                os.fsync(file.fileno())  # bytes are on the disk before anything speaks of them
            source.replace(target)
