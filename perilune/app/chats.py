"""/app/api/chats: chats, their messages, and what may be said in one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from perilune.app import asked
from perilune.app.asked import Body, named, only, owner, route
from perilune.app.history import TITLE_CHARACTERS, History
from perilune.app.kept_files import KeptFiles
from perilune.app.projects import Projects
from perilune.app.replies import Replies
from perilune.errors import RequestError
from perilune.fields import show_value

MOST_PARTS = 256  # of a message
MOST_TEXT = 8 << 20  # characters of a message
MOST_LISTED = 200
LONGEST_QUERY = 1000
LONGEST_ID = 64


class Chats:
    """The endpoints of chats and messages."""

    def __init__(self, history: History, files: KeptFiles, projects: Projects, replies: Replies):
        self.history, self.files, self.projects, self.replies = history, files, projects, replies

    def routes(self) -> list[Route]:
        return [
            route("GET", "/chats", self.all),
            route("POST", "/chats", self.begin, status=201),
            route("GET", "/chats/{name}", self.one),
            route("PATCH", "/chats/{name}", self.change),
            route("DELETE", "/chats/{name}", self.drop),
            route("POST", "/chats/{name}/messages", self.say, status=201),
        ]

    def all(self, request: Request, body: Body) -> dict[str, Any]:
        query = request.query_params.get("query", "")
        if len(query) > LONGEST_QUERY:
            raise RequestError(f"query has up to {LONGEST_QUERY} characters, got {len(query)}")
        chats, more = self.history.page(
            owner(request),
            project=request.query_params.get("project"),
            query=query,
            limit=asked.number(request, "limit", 50, 1, MOST_LISTED),
            before=asked.moment(request, "before"),
        )
        return {"chats": chats, "more": more}

    def begin(self, request: Request, body: Body) -> dict[str, Any]:
        only(body, "project", "title")
        title = asked.text(body, "title", TITLE_CHARACTERS) or ""
        return self.history.begin(owner(request), self._project(request, body), title)

    def one(self, request: Request, body: Body) -> dict[str, Any]:
        chat = self.history.chat(owner(request), named(request))
        return {**chat, "messages": self.history.messages(chat["id"])}

    def change(self, request: Request, body: Body) -> dict[str, Any]:
        only(body, "title", "leaf", "project")
        changes: dict[str, Any] = {}
        if (title := asked.text(body, "title", TITLE_CHARACTERS)) is not None:
            changes["title"] = title
        if (leaf := asked.text(body, "leaf", LONGEST_ID)) is not None:
            changes["leaf"] = leaf
        if "project" in body:
            changes["project"] = self._project(request, body)
        return self.history.change(owner(request), named(request), **changes)

    def drop(self, request: Request, body: Body) -> dict[str, Any]:
        chat = self.history.chat(owner(request), named(request))
        self.replies.end_chat(chat["id"])
        with self.history.db.together():
            used = self.files.used_by(chat=chat["id"])
            self.history.drop(owner(request), chat["id"])
            self.files.let_go(owner(request), used)
        self.files.sweep()
        return {"id": chat["id"], "deleted": True}

    def say(self, request: Request, body: Body) -> dict[str, Any]:
        only(body, "parent", "content")
        chat = self.history.chat(owner(request), named(request))
        parent = asked.text(body, "parent", LONGEST_ID)
        content = self._content(owner(request), body.get("content"))
        said = "\n".join(part["text"] if part["type"] == "text" else part["name"] for part in content)
        with self.history.db.together():
            made = self.history.add(chat["id"], parent, "user", content, said=said)
            self.files.use([part["file"] for part in content if part["type"] == "file"], chat=chat["id"])
        return made

    def _content(self, who: str, given: Any) -> list[dict[str, Any]]:
        if not isinstance(given, list) or not 1 <= len(given) <= MOST_PARTS:
            raise RequestError(f"content must be a list of 1 to {MOST_PARTS} parts, got {show_value(given, 40)}")
        parts = [self._part(who, part, f"content[{i}]") for i, part in enumerate(given)]
        if sum(len(part.get("text", "")) for part in parts) > MOST_TEXT:
            raise RequestError(f"a message has up to {MOST_TEXT:,} characters; send what is longer as a file")
        return parts

    def _part(self, who: str, part: Any, where: str) -> dict[str, Any]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "file"):
            raise RequestError(f'{where} must be {{"type": "text", "text": …}} or {{"type": "file", "file": ID}}')
        only(part, "type", kind)
        if not isinstance(part.get(kind), str):
            raise RequestError(f"{where}.{kind} must be a text, got {show_value(part.get(kind), 40)}")
        if kind == "text":
            return {"type": "text", "text": part["text"]}
        found = self.files.get(who, part["file"])
        return {"type": "file", "file": found["id"], "name": found["name"], "kind": found["kind"]}

    def _project(self, request: Request, body: Body) -> str | None:
        project = asked.text(body, "project", LONGEST_ID)
        return self.projects.get(owner(request), project)["id"] if project is not None else None
