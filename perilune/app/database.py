"""The page's database: one SQLite file that is written ahead, with a full-text index over what was said.

What is deleted is overwritten, in the file, in the index and in the log.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perilune.errors import RequestError

VERSION = 1
_TABLES = """
create table if not exists sessions (
    id text primary key, owner text not null, used real not null
);
create table if not exists projects (
    id text primary key, owner text not null, name text not null, instructions text not null,
    created real not null, updated real not null
);
create table if not exists chats (
    id text primary key, owner text not null, title text not null, leaf text,
    project text references projects (id) on delete set null, created real not null, updated real not null
);
create index if not exists chats_by_time on chats (owner, updated);
create table if not exists messages (
    place integer primary key, id text not null unique, chat text not null references chats (id) on delete cascade,
    parent text, role text not null, content text not null, said text not null, reasoning text not null,
    state text not null, meta text not null, created real not null
);
create index if not exists messages_of_chat on messages (chat, place);
create table if not exists files (
    id text primary key, owner text not null, hash text not null, name text not null, kind text not null,
    bytes integer not null, tokens integer, problem text, created real not null
);
create index if not exists files_by_hash on files (hash);
create table if not exists parts (
    file text not null references files (id) on delete cascade, place integer not null, name text not null,
    hash text not null, bytes integer not null, lines integer not null, tokens integer not null,
    primary key (file, place)
);
create index if not exists parts_by_hash on parts (hash);
create table if not exists uses (
    file text not null references files (id), chat text references chats (id) on delete cascade,
    project text references projects (id) on delete cascade, place integer primary key
);
create index if not exists uses_of_file on uses (file);
create table if not exists tutors (owner text primary key, told text not null);
create virtual table if not exists found using
    fts5 (said, content='messages', content_rowid='place', tokenize='trigram');
create trigger if not exists said_new after insert on messages when new.state != 'writing' begin
    insert into found (rowid, said) values (new.place, new.said);
end;
create trigger if not exists said_no_more after delete on messages when old.state != 'writing' begin
    insert into found (found, rowid, said) values ('delete', old.place, old.said);
end;
create trigger if not exists said_at_last after update on messages when old.state = 'writing' and new.state != 'writing'
begin
    insert into found (rowid, said) values (new.place, new.said);
end;
"""


def new_id() -> str:
    return secrets.token_hex(12)


class Database:
    """May be used from any thread; one at a time is inside."""

    def __init__(self, path: Path):
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on", "secure_delete = on"):
                self._db.execute(f"pragma {pragma}")
            (version,) = self._db.execute("pragma user_version").fetchone()
            if version > VERSION:
                raise RequestError(f"{path} was written by a newer perilune; update this one, or give another --state")
            self._db.executescript(_TABLES)
            self._db.execute(f"pragma user_version = {VERSION}")
        except sqlite3.Error as error:
            raise RequestError(f"{path} cannot be used: {error}") from None

    def all(self, query: str, *given: Any) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._db.execute(query, given).fetchall()]

    def one(self, query: str, *given: Any) -> dict[str, Any] | None:
        with self._lock:
            row = self._db.execute(query, given).fetchone()
        return dict(row) if row else None

    def count(self, condition: str, *given: Any) -> int:
        """Rows of "TABLE where …"."""
        with self._lock:
            return self._db.execute(f"select count(*) from {condition}", given).fetchone()[0]

    def run(self, query: str, *given: Any) -> int:
        """How many rows it changed."""
        with self._lock:
            return self._db.execute(query, given).rowcount

    def insert(self, table: str, row: dict[str, Any]) -> None:
        """`table` and the names in the row are this program's own, never a client's."""
        marks = ", ".join("?" * len(row))
        self.run(f"insert into {table} ({', '.join(row)}) values ({marks})", *row.values())

    @contextmanager
    def together(self) -> Generator[None, None, None]:
        """All that is written inside is there at once, or not at all."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def scrub(self) -> None:
        """After deleting: the index keeps no words of what is gone, nor does the log."""
        with self._lock:
            self._db.execute("insert into found (found) values ('optimize')")
            self._db.execute("pragma wal_checkpoint(truncate)")

    def close(self) -> None:
        with self._lock:
            self._db.close()
