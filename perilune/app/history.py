"""Chats and their messages: a tree of messages for each chat, of which `leaf` is the end of the branch that is shown.

Everything belongs to one owner; for others it is not there. What a reply has come to is written while it comes.
"""

from __future__ import annotations

import json
import time
from typing import Any

from perilune.app.asked import Missing
from perilune.app.database import Database, new_id
from perilune.errors import RequestError
from perilune.server.kept import FullError

MOST_CHATS = 100_000  # of one owner
MOST_MESSAGES = 50_000  # of one chat
MOST_DEPTH = 10_000  # messages from the first of a chat to a last one
TITLE_CHARACTERS = 200
SAID_AT_START = 80  # characters of the first message, for a title
SNIPPET_CHARACTERS = 160
MOST_WORDS = 16  # of a search
WORD_OF_INDEX = 3  # shorter words are looked for one message after the other

Row = dict[str, Any]
_CHAT = "id, title, project, leaf, created, updated"


class History:
    """The chats of everybody."""

    def __init__(self, database: Database):
        self.db = database

    def begin(self, owner: str, project: str | None, title: str = "") -> Row:
        count = self.db.count("chats where owner = ?", owner)
        if count >= MOST_CHATS:
            raise FullError(f"{count:,} chats are kept already; delete some first")
        now = time.time()
        made = {"id": new_id(), "title": title, "project": project, "leaf": None, "created": now, "updated": now}
        self.db.insert("chats", {**made, "owner": owner})
        return made

    def chat(self, owner: str, name: str) -> Row:
        """Without its messages. Raises Missing."""
        found = self.db.one(f"select {_CHAT} from chats where id = ? and owner = ?", name, owner)
        if found is None:
            raise Missing("chat", name)
        return found

    def messages(self, chat: str) -> list[Row]:
        """All of them, oldest first."""
        return [_message(row) for row in self.db.all("select * from messages where chat = ? order by place", chat)]

    def message(self, owner: str, name: str) -> Row:
        """With the id of its chat. Raises Missing."""
        query = "select m.* from messages m join chats c on c.id = m.chat where m.id = ? and c.owner = ?"
        found = self.db.one(query, name, owner)
        if found is None:
            raise Missing("message", name)
        return {**_message(found), "chat": found["chat"]}

    def told(self, name: str) -> Row:
        """A message that this program itself wrote."""
        row = self.db.one("select * from messages where id = ?", name)
        if row is None:
            raise Missing("message", name)
        return _message(row)

    def take_back(self, name: str) -> None:
        """A message that came to nothing; the branch ends with what it followed."""
        with self.db.together():
            self.db.run("update chats set leaf = (select parent from messages where id = ?) where leaf = ?", name, name)
            self.db.run("delete from messages where id = ?", name)

    def branch(self, chat: str, leaf: str) -> list[Row]:
        """The messages from the first one to `leaf`."""
        query = (
            "with recursive up (id, depth) as (select ?, 0 union all"
            " select m.parent, depth + 1 from up join messages m on m.id = up.id"
            " where m.parent is not null and depth < ?)"
            " select m.* from up join messages m on m.id = up.id where m.chat = ? order by depth desc"
        )
        rows = self.db.all(query, leaf, MOST_DEPTH, chat)
        if len(rows) > MOST_DEPTH:
            raise RequestError(f"this chat has more than {MOST_DEPTH:,} messages in one line; begin a new one")
        return [_message(row) for row in rows]

    def add(
        self, chat: str, parent: str | None, role: str, content: list[Row], *, state: str = "done", said: str = ""
    ) -> Row:
        """A message, which becomes the end of the branch that is shown. Raises Missing for an unknown parent."""
        now = time.time()
        with self.db.together():
            if parent is not None and not self.db.one("select 1 from messages where id = ? and chat = ?", parent, chat):
                raise Missing("message", parent)
            count = self.db.count("messages where chat = ?", chat)
            if count >= MOST_MESSAGES:
                raise FullError(f"this chat has {count:,} messages; begin a new one")
            made = {"id": new_id(), "parent": parent, "role": role, "content": json.dumps(content), "reasoning": ""}
            made |= {"state": state, "meta": "{}", "created": now}
            self.db.insert("messages", {**made, "chat": chat, "said": said})
            self.db.run("update chats set leaf = ?, updated = ? where id = ?", made["id"], now, chat)
            if said.strip():
                start = " ".join(said.split())[:SAID_AT_START]
                self.db.run("update chats set title = ? where id = ? and title = ''", start, chat)
        return _message(made)

    def write(self, name: str, text: str, reasoning: str, state: str, meta: Row) -> None:
        """What a reply has come to; once it is no longer "writing", it stays as it is."""
        content = json.dumps([{"type": "text", "text": text}] if text else [])
        self.db.run(
            "update messages set content = ?, said = ?, reasoning = ?, state = ?, meta = ?"
            " where id = ? and state = 'writing'",
            *(content, text, reasoning, state, json.dumps(meta), name),
        )

    def stop_all(self) -> None:
        """Replies that nobody writes any more, since a server ended before them, stay with what they had."""
        for row in self.db.all("select id, meta from messages where state = 'writing'"):
            meta = json.dumps({**json.loads(row["meta"]), "interrupted": True})
            self.db.run("update messages set state = 'stopped', meta = ? where id = ?", meta, row["id"])

    def change(self, owner: str, name: str, **fields: Any) -> Row:
        """Sets title, leaf or project of a chat, whose existence has been checked by the caller."""
        with self.db.together():
            chat = self.chat(owner, name)
            leaf = fields.get("leaf")
            if leaf is not None and not self.db.one("select 1 from messages where id = ? and chat = ?", leaf, name):
                raise Missing("message", leaf)
            for field in fields.keys() & {"title", "leaf", "project"}:
                self.db.run(f"update chats set {field} = ? where id = ?", fields[field], name)
        return {**chat, **fields}

    def drop(self, owner: str, name: str) -> None:
        with self.db.together():
            self.chat(owner, name)
            self.db.run("delete from chats where id = ?", name)

    def page(
        self, owner: str, *, project: str | None = None, query: str = "", limit: int = 50, before: float | None = None
    ) -> tuple[list[Row], bool]:
        """Chats with a snippet each, the last used first, and whether there are more."""
        words = [word.casefold() for word in query.replace("\0", " ").split()[:MOST_WORDS]]
        where, given = ["owner = ?"], [owner]
        if project is not None:
            where, given = [*where, "project = ?"], [*given, project]
        if before is not None:
            where, given = [*where, "updated < ?"], [*given, before]
        if words:
            matching, values = _matching(words)
            where, given = [*where, matching], [*given, *values]
        sql = f"select {_CHAT} from chats where {' and '.join(where)} order by updated desc, id limit ?"
        rows = self.db.all(sql, *given, limit + 1)
        told = [{**row, "snippet": self._snippet(row["id"], row["leaf"], words)} for row in rows[:limit]]
        return told, len(rows) > limit

    def _snippet(self, chat: str, leaf: str | None, words: list[str]) -> list[list[Any]]:
        """Pairs of a text and whether it was looked for: of a message with all words, or else of the last one."""
        found = None
        if words:
            condition, values = _said(words)
            query = f"select said from messages where chat = ? and {condition} order by place desc limit 1"
            found = self.db.one(query, chat, *values)
        found = found or self.db.one("select said from messages where id = ?", leaf)
        return marked(found["said"], words) if found else []


def marked(said: str, words: list[str]) -> list[list[Any]]:
    """A piece of what was said around the first of the words, as pairs of a text and whether it is one of them."""
    low = said.casefold()
    if len(low) != len(said):  # a sign that has a longer small form; places would not agree
        low = said.lower() if len(said.lower()) == len(said) else said
    places = [at for at in (low.find(word) for word in words) if at >= 0]
    start = max(0, min(places, default=0) - SNIPPET_CHARACTERS // 4)
    piece, low = said[start : start + SNIPPET_CHARACTERS], low[start : start + SNIPPET_CHARACTERS]
    hits = [False] * len(piece)
    for word in words:
        at = low.find(word)
        while at >= 0:
            hits[at : at + len(word)] = [True] * len(hits[at : at + len(word)])
            at = low.find(word, at + len(word))
    told: list[list[Any]] = []
    for sign, hit in zip(piece, hits, strict=True):
        if told and told[-1][1] == hit:
            told[-1][0] += sign
        else:
            told.append([sign, hit])
    return told


def _matching(words: list[str]) -> tuple[str, list[str]]:
    """A condition on chats: one message has all words, or the title has."""
    condition, values = _said(words)
    title = " and ".join("title like ? escape '\\'" for _ in words)
    likes = [_like(word) for word in words]
    return f"(id in (select chat from messages where {condition}) or ({title}))", [*values, *likes]


def _said(words: list[str]) -> tuple[str, list[str]]:
    """A condition on messages: long words by the index, short ones by looking."""
    long = [word for word in words if len(word) >= WORD_OF_INDEX]
    conditions = ["said like ? escape '\\'" for word in words if len(word) < WORD_OF_INDEX]
    values = [_like(word) for word in words if len(word) < WORD_OF_INDEX]
    if long:
        conditions.append("place in (select rowid from found where found match ?)")
        values.append(" ".join('"' + word.replace('"', '""') + '"' for word in long))
    return " and ".join(conditions), values


def _like(word: str) -> str:
    for sign in ("\\", "%", "_"):
        word = word.replace(sign, "\\" + sign)
    return f"%{word}%"


def _message(row: Row) -> Row:
    told = {name: row[name] for name in ("id", "parent", "role", "content", "reasoning", "state", "meta", "created")}
    return {**told, "content": json.loads(row["content"]), "meta": json.loads(row["meta"])}
