"""The page on a server: its files, its endpoints, who may use them, and what it keeps."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

import perilune
from perilune.app.asked import API, Body, route
from perilune.app.chats import Chats
from perilune.app.database import Database
from perilune.app.export import Exports
from perilune.app.files import Files
from perilune.app.history import History
from perilune.app.kept_files import KeptFiles
from perilune.app.openapi import PATHS
from perilune.app.projects import Projects
from perilune.app.reading import Documents
from perilune.app.replies import Replies
from perilune.app.sessions import Sessions
from perilune.app.static import Static
from perilune.app.tutor import Tutor
from perilune.server.door import Served

OPEN = (f"{API}/session", f"{API}/state")  # say of nobody but whoever asks


class Page:
    """A door of the server; what it keeps lies in the folder `page` of the server's own."""

    def __init__(self, served: Served):
        folder = served.kept.folder / "page"
        folder.mkdir(exist_ok=True, mode=0o700)
        self.served, self.static = served, Static()
        self.database = Database(folder / "page.sqlite")
        self.history, files = History(self.database), KeptFiles(self.database, folder / "files")
        self.history.stop_all()
        files.tidy()
        documents = Documents(served.model, files, folder / "read")
        files.on_gone = documents.forget
        self.sessions = Sessions(self.database, served.keys)
        projects, tutor = Projects(self.database, files), Tutor(self.database)
        self.replies = Replies(served, self.history, files, projects, documents)
        self.documents = documents
        self.paths = PATHS
        self.routes: list[Route] = [
            route("GET", "/state", self.state),
            *self.sessions.routes(),
            *Chats(self.history, files, projects, self.replies).routes(),
            *self.replies.routes(),
            *Files(served.model, files, documents).routes(),
            *projects.routes(),
            *Exports(self.history, files, projects, tutor).routes(),
            *tutor.routes(),
            *self.static.routes(),
        ]

    def is_open(self, path: str) -> bool:
        return path in OPEN or self.is_static(path)

    def is_static(self, path: str) -> bool:
        return self.static.find(path) is not None

    def owner(self, request: Request) -> str | None:
        return self.sessions.owner(request)

    def close(self) -> None:
        self.replies.close()
        self.database.close()

    def state(self, request: Request, body: Body) -> dict[str, Any]:
        """Strangers hear only that a key is needed."""
        told: dict[str, Any] = {"needs_key": bool(self.served.keys), "version": perilune.__version__}
        if not request.state.known:
            return {**told, "user": None, "model": None}
        model = self.served.model
        senses = {"sees": "vision" in model.senses.has, "hears": "hearing" in model.senses.has}
        about = {"name": self.served.name, "context": model.context_length, **senses, "reads": self.documents.reads}
        return {**told, "user": request.state.owner[:8] or None, "model": about}
