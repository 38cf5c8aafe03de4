"""What clients asked the server to keep: files, responses, and what is known of batches. It outlives the process.

A record is there once it has been acknowledged, whenever the process is killed: SQLite writes ahead and syncs, and the
bytes of a file are synced before its record is made. Every record belongs to one key, and no other key sees it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from perilune.engine.store_folder import user_folder
from perilune.errors import PeriluneError, RequestError

VARIABLE = "PERILUNE_STATE"
MOST_BYTES = 16 << 30  # of all files
MOST_FILE_BYTES = 512 << 20
MOST_RECORDS = 100_000  # of one kind
MOST_LISTED = 1000
COPY_BYTES = 1 << 20
_TABLE = """
create table if not exists records (
    kind text not null, id text not null, owner text not null, told text not null,
    place integer primary key autoincrement, unique (kind, id)
)
"""


class HeldError(RequestError):
    """Another server uses the folder."""


class FullError(PeriluneError):
    """There is no room for more; something must be deleted first."""


def owner_of(key: bytes | None) -> str:
    """The name under which a key's records stand; the key itself is not written anywhere."""
    return hashlib.sha256(key).hexdigest()[:32] if key else ""


def state_folder(name: str) -> Path:
    """Where a server keeps what is not said otherwise: PERILUNE_STATE, or the user's state folder."""
    root = os.environ.get(VARIABLE)
    base = Path(root) if root else user_folder("XDG_STATE_HOME", ".local/state", VARIABLE)
    return base / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


class Kept:
    """The records of one folder, which one server at a time may use. May be used from any thread."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES):
        self.folder, self.most_bytes = folder, most_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / "files").mkdir(exist_ok=True)
            self._held = _held(folder)
        except OSError as error:
            raise RequestError(f"{folder} cannot be used to keep files in: {error}") from None
        self._lock, self._adding = threading.RLock(), threading.Lock()
        self._sizes: dict[str, int] = {}  # of kinds whose oldest leave; counted when first needed
        try:
            self._db = sqlite3.connect(folder / "kept.sqlite", check_same_thread=False, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute(_TABLE)
        except sqlite3.Error as error:
            raise RequestError(f"{folder / 'kept.sqlite'} cannot be used: {error}") from None
        self._sweep()

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._held.close()

    def put(self, kind: str, owner: str, told: dict[str, Any]) -> None:
        """A record under its own id; one of the same id is replaced and keeps its place."""
        with self._lock:
            query = "select count(*) from records where kind = ? and id != ?"
            (others,) = self._db.execute(query, (kind, told["id"])).fetchone()
            if others >= MOST_RECORDS:
                raise FullError(f"{others:,} records are kept already; delete some first")
            self._db.execute(
                "insert into records (kind, id, owner, told) values (?, ?, ?, ?)"
                " on conflict (kind, id) do update set told = excluded.told",
                (kind, told["id"], owner, json.dumps(told)),
            )

    def put_newest(self, kind: str, owner: str, told: dict[str, Any], most_bytes: int) -> None:
        """A record with its `size` in bytes; the oldest of its kind, whoever's, leave until all take up to
        `most_bytes`."""
        record = {**told, "size": len(json.dumps(told))}
        with self._lock:
            if kind not in self._sizes:
                self._sizes[kind] = sum(one["size"] for _, one in self.everyones(kind))
            if record["size"] > most_bytes:
                return
            while self._sizes[kind] + record["size"] > most_bytes or self._count(kind) >= MOST_RECORDS:
                query = "select place, told from records where kind = ? order by place limit 1"
                place, oldest = self._db.execute(query, (kind,)).fetchone()
                self._db.execute("delete from records where place = ?", (place,))
                self._sizes[kind] -= json.loads(oldest)["size"]
            self.put(kind, owner, record)
            self._sizes[kind] += record["size"]

    def _count(self, kind: str) -> int:
        return self._db.execute("select count(*) from records where kind = ?", (kind,)).fetchone()[0]

    def get(self, kind: str, owner: str, name: str) -> dict[str, Any] | None:
        with self._lock:
            query = "select told from records where kind = ? and owner = ? and id = ?"
            found = self._db.execute(query, (kind, owner, name)).fetchone()
        return json.loads(found[0]) if found else None

    def newest(self, kind: str, owner: str, after: str | None, most: int) -> list[dict[str, Any]]:
        """Newest first, from the one after `after` on."""
        with self._lock:
            query = "select place from records where kind = ? and owner = ? and id = ?"
            start = self._db.execute(query, (kind, owner, after)).fetchone() if after else None
            query = "select told from records where kind = ? and owner = ? and place < ? order by place desc limit ?"
            rows = self._db.execute(query, (kind, owner, start[0] if start else 1 << 62, most)).fetchall()
        return [json.loads(told) for (told,) in rows]

    def everyones(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Owner and record, oldest first."""
        with self._lock:
            query = "select owner, told from records where kind = ? order by place"
            rows = self._db.execute(query, (kind,)).fetchall()
        return ((owner, json.loads(told)) for owner, told in rows)

    def drop(self, kind: str, owner: str, name: str) -> bool:
        with self._lock:
            query = "delete from records where kind = ? and owner = ? and id = ?"
            gone = self._db.execute(query, (kind, owner, name)).rowcount > 0
            self._sizes.pop(kind, None)
        if gone and kind == "file":
            self.path(name).unlink(missing_ok=True)
        return gone

    def path(self, name: str) -> Path:
        """Where the bytes of a file lie. Names are made here, never by clients."""
        return self.folder / "files" / name

    def add_file(self, owner: str, source: IO[bytes], record: dict[str, Any]) -> dict[str, Any]:
        """Copies the bytes, syncs them, then makes the record, with `bytes` added to it."""
        part = self.path(f"{record['id']}.part-{uuid.uuid4().hex[:8]}")
        try:
            with self._adding, part.open("xb") as file:
                size, room = 0, self.most_bytes - self.used_bytes()
                while piece := source.read(COPY_BYTES):
                    size += len(piece)
                    if size > room:
                        raise FullError("there is no room for this file; delete some first")
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path(record["id"]))
            sync_folder(part.parent)
        except OSError as error:
            raise FullError(f"the file could not be kept: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
        whole = {**record, "bytes": size}
        self.put("file", owner, whole)
        return whole

    def used_bytes(self) -> int:
        return sum(entry.stat().st_size for entry in os.scandir(self.folder / "files"))

    def _sweep(self) -> None:
        """Removes bytes that no record speaks of: a killed process left them, and nobody was told they are kept."""
        known = {told["id"] for _, told in self.everyones("file")}
        for path in (self.folder / "files").iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)


def _held(folder: Path) -> IO[str]:
    """The folder's lock; it is this process's until it is closed, or the process ends."""
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise HeldError(f"another server uses {folder}; give this one a folder of its own: --state") from None
    return lock


def sync_folder(folder: Path) -> None:
    """A new name is on the disk only once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
