"""Chats as Markdown and JSON, everything of a user as one JSON, and the same taken in again.

An import adds to what is there, all of it or nothing, under new ids. Files are told by name and hash: those that the
user still has here are found again; the bytes themselves are in no export.
"""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perilune.app.asked import Body, named, only, owner, route
from perilune.app.chats import MOST_PARTS, MOST_TEXT
from perilune.app.database import new_id
from perilune.app.extract import LONGEST_FILE_NAME
from perilune.app.history import MOST_MESSAGES, TITLE_CHARACTERS, History
from perilune.app.kept_files import KeptFiles
from perilune.app.projects import LONGEST_INSTRUCTIONS, LONGEST_NAME, Projects
from perilune.app.tutor import EMPTY, Tutor
from perilune.errors import RequestError
from perilune.fields import show_value

FORM, VERSION = "perilune history", 1
MOST_IMPORT = 256 << 20  # bytes
MOST_IMPORTED = 10_000  # chats, and as many projects
LONGEST_ID = 64
STATES = ("done", "stopped", "failed")
META = ("thinking", "finish", "error", "interrupted", "reasoning_seconds")
METER = (
    "tokens_per_second",
    "first_token_seconds",
    "prompt_tokens",
    "cached_tokens",
    "reply_tokens",
    "joules",
    "joules_per_token",
)
MOST_CITED, MOST_QUOTE = 16, 1000

Row = dict[str, Any]


class Exports:
    """The endpoints of exports and imports."""

    def __init__(self, history: History, files: KeptFiles, projects: Projects, tutor: Tutor):
        self.history, self.files, self.projects, self.tutor = history, files, projects, tutor

    def routes(self) -> list[Route]:
        return [
            route("GET", "/chats/{name}/export", self.one),
            route("GET", "/export", self.all),
            route("POST", "/import", self.take, most=MOST_IMPORT, status=201),
        ]

    def one(self, request: Request, body: Body) -> Response:
        chat = self.history.chat(owner(request), named(request))
        form = request.query_params.get("format", "markdown")
        if form not in ("markdown", "json"):
            raise RequestError(f"format must be markdown or json, got {form[:40]!r}")
        whole = {**chat, "messages": self.history.messages(chat["id"])}
        if form == "json":
            return _download(json.dumps(self._form([whole], [], None), ensure_ascii=False), "chat.json")
        shown = self.history.branch(chat["id"], chat["leaf"]) if chat["leaf"] else []
        return _download(markdown(chat["title"], shown), "chat.md", "text/markdown")

    def all(self, request: Request, body: Body) -> Response:
        who = owner(request)
        ids = self.history.db.all("select id from chats where owner = ? order by created, id", who)
        chats = [{**self.history.chat(who, row["id"]), "messages": self.history.messages(row["id"])} for row in ids]
        told = self._form(chats, self.projects.listed(who), who)
        return _download(json.dumps(told, ensure_ascii=False), "perilune.json")

    def take(self, request: Request, body: Body) -> Row:
        only(body, "form", "version", "exported", "files", "projects", "chats", "tutor")
        if body.get("form") != FORM or body.get("version") != VERSION:
            raise RequestError(f'this is no export of perilune: form must be "{FORM}" and version {VERSION}')
        who = owner(request)
        files = self._files(who, _list(body, "files"))
        with self.history.db.together():
            projects = {
                _text(one, "id", LONGEST_ID, f"projects[{i}]"): self._project(who, one, files, f"projects[{i}]")
                for i, one in enumerate(_list(body, "projects"))
            }
            for i, one in enumerate(_list(body, "chats")):
                self._chat(who, one, files, projects, f"chats[{i}]")
            if body.get("tutor") is not None:
                tutor = _row(body["tutor"], "tutor")
                only(tutor, *EMPTY)
                self.tutor.put(who, tutor)
        return {"chats": len(_list(body, "chats")), "projects": len(projects)}

    def _form(self, chats: list[Row], projects: list[Row], who: str | None) -> Row:
        parts = (
            part for chat in chats for one in chat["messages"] for part in one["content"] if part["type"] == "file"
        )
        names = [*(part["file"] for part in parts), *(file for project in projects for file in project["files"])]
        told = []
        for name in dict.fromkeys(names):
            row = self.history.db.one("select id, name, kind, bytes, hash from files where id = ?", name)
            told += [row] if row else []
        whole: Row = {"form": FORM, "version": VERSION, "exported": int(time.time()), "files": told}
        whole |= {"projects": projects, "chats": chats}
        return whole if who is None else {**whole, "tutor": self.tutor.of(who)}

    def _files(self, who: str, given: list[Any]) -> dict[str, Row]:
        """Files of an export → those of this user with the same content, where they are here."""
        found = {}
        for index, one in enumerate(given):
            where = f"files[{index}]"
            row = _row(one, where)
            name, digest = (_text(row, field, LONGEST_ID, where) for field in ("id", "hash"))
            query = "select * from files where owner = ? and hash = ? order by created limit 1"
            here = self.history.db.one(query, who, digest)
            if here:
                found[name] = here
        return found

    def _project(self, who: str, one: Any, files: dict[str, Row], where: str) -> str:
        row = _row(one, where)
        named = [files[name]["id"] for name in _list(row, "files", where) if isinstance(name, str) and name in files]
        name = _text(row, "name", LONGEST_NAME, where) or "imported"
        return self.projects.add(who, name, _text(row, "instructions", LONGEST_INSTRUCTIONS, where), named)["id"]

    def _chat(self, who: str, one: Any, files: dict[str, Row], projects: dict[str, str], where: str) -> None:
        row = _row(one, where)
        given = _list(row, "messages", where, MOST_MESSAGES)
        project = projects.get(str(row.get("project")))
        chat = self.history.begin(who, project, _text(row, "title", TITLE_CHARACTERS, where))
        ids: dict[str, str] = {}
        used: list[str] = []
        for index, message in enumerate(given):
            at = f"{where}.messages[{index}]"
            made = self._message(_row(message, at), chat["id"], ids, files, at)
            used += [part["file"] for part in made if part["type"] == "file" and part["file"]]
        self.files.use(used, chat=chat["id"])
        db, leaf = self.history.db, ids.get(str(row.get("leaf")))
        created, updated = (_time(row, name, chat["created"], where) for name in ("created", "updated"))
        query = "update chats set leaf = coalesce(?, leaf), created = ?, updated = ? where id = ?"
        db.run(query, leaf, created, updated, chat["id"])

    def _message(self, row: Row, chat: str, ids: dict[str, str], files: dict[str, Row], at: str) -> list[Row]:
        """Adds a message; its parent came before it. Its parts."""
        role, state, parent = row.get("role"), row.get("state", "done"), row.get("parent")
        if role not in ("user", "assistant"):
            raise RequestError(f"{at}.role must be user or assistant, got {show_value(role, 40)}")
        if parent is not None and parent not in ids:
            raise RequestError(f"{at}.parent must be an earlier message of the chat, got {show_value(parent, 40)}")
        content = [
            _part(_row(part, f"{at}.content[{i}]"), files, f"{at}.content[{i}]")
            for i, part in enumerate(_list(row, "content", at, MOST_PARTS))
        ]
        said = "\n".join(part.get("text") or part.get("name", "") for part in content)
        name = _text(row, "id", LONGEST_ID, at)
        if name in ids:
            raise RequestError(f"{at}.id {show_value(name, 40)} occurs twice")
        ids[name] = new_id()
        made = {"id": ids[name], "chat": chat, "parent": ids.get(parent) if parent else None, "role": role}
        made |= {"content": json.dumps(content), "said": said, "reasoning": _text(row, "reasoning", MOST_TEXT, at)}
        made |= {"state": state if state in STATES else "stopped", "created": _time(row, "created", time.time(), at)}
        made["meta"] = json.dumps(_meta(_row(row.get("meta", {}), f"{at}.meta"), files))
        self.history.db.insert("messages", made)
        self.history.db.run("update chats set leaf = ? where id = ?", made["id"], chat)
        return content


def markdown(title: str, messages: list[Row]) -> str:
    """The branch that is shown. Reasoning is folded, as in the page."""
    lines = [f"# {title or 'Chat'}", ""]
    for message in messages:
        lines += ["## You" if message["role"] == "user" else "## Assistant", ""]
        if message["reasoning"]:
            lines += ["<details><summary>Reasoning</summary>", "", message["reasoning"].strip(), "", "</details>", ""]
        for part in message["content"]:
            lines += [part["text"] if part["type"] == "text" else f"*File: {part['name']}*", ""]
        for one in message["meta"].get("citations", []):
            lines += [f"> {one['name']}, lines {one['lines'][0]}–{one['lines'][1]}", ""]
    return "\n".join(lines)


def _part(part: Row, files: dict[str, Row], where: str) -> Row:
    if part.get("type") == "text":
        return {"type": "text", "text": _text(part, "text", MOST_TEXT, where)}
    if part.get("type") != "file":
        raise RequestError(f"{where}.type must be text or file, got {show_value(part.get('type'), 40)}")
    here, name = files.get(_text(part, "file", LONGEST_ID, where)), _text(part, "name", LONGEST_FILE_NAME, where)
    if here is None:
        return {"type": "text", "text": f"[file {name}, which is not here]"}
    return {"type": "file", "file": here["id"], "name": here["name"], "kind": here["kind"]}


def _meta(given: Row, files: dict[str, Row]) -> Row:
    """What is known of how a reply came about, as far as it has the form that this program gives it."""
    told = {name: given[name] for name in META if isinstance(given.get(name), str | bool | int | float)}
    meter = given.get("meter")
    if isinstance(meter, dict):
        told["meter"] = {name: value for name, value in meter.items() if name in METER and type(value) in (int, float)}
    cited = given.get("citations")
    if isinstance(cited, list):
        told["citations"] = [_citation(one, files) for one in cited[:MOST_CITED] if _is_citation(one)]
    return told


def _is_citation(one: Any) -> bool:
    lines = one.get("lines") if isinstance(one, dict) else None
    whole = isinstance(lines, list) and len(lines) == 2 and all(type(line) is int and line > 0 for line in lines)
    return whole and isinstance(one.get("name"), str)


def _citation(one: Row, files: dict[str, Row]) -> Row:
    here = files.get(str(one.get("file")))
    quote = str(one.get("quote", ""))[:MOST_QUOTE]
    return {"file": here and here["id"], "name": one["name"][:MOST_QUOTE], "lines": one["lines"], "quote": quote}


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise RequestError(f"{where} must be a JSON object, got {show_value(value, 40)}")
    return value


def _list(row: Row, name: str, where: str = "", most: int = MOST_IMPORTED) -> list[Any]:
    value = row.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise RequestError(f"{where + '.' if where else ''}{name} must be a list of up to {most:,}")
    return value


def _text(row: Row, name: str, most: int, where: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str) or len(value) > most:
        raise RequestError(f"{where}.{name} must be a text of up to {most:,} characters, got {show_value(value, 40)}")
    return value


def _time(row: Row, name: str, default: float, where: str) -> float:
    value = row.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise RequestError(f"{where}.{name} must be a time in seconds since 1970, got {show_value(value, 40)}")
    return float(value)


def _download(text: str, name: str, kind: str = "application/json") -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"}
    return Response(text, media_type=kind, headers=headers)
