"""/app/api/projects: a name, standing instructions and files that every chat of the project has read.

Deleting a project leaves its chats, without the project; its files go where no chat uses them.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from perilune.app import asked
from perilune.app.asked import Body, Missing, named, only, owner, route
from perilune.app.database import Database, new_id
from perilune.app.kept_files import KeptFiles
from perilune.server.kept import FullError

MOST_PROJECTS = 1000  # of one owner
MOST_FILES = 1000  # of one project
LONGEST_NAME = 200
LONGEST_INSTRUCTIONS = 64 << 10  # characters
LONGEST_ID = 64

Row = dict[str, Any]


class Projects:
    """The projects of everybody, and their endpoints."""

    def __init__(self, database: Database, files: KeptFiles):
        self.db, self.files = database, files

    def routes(self) -> list[Route]:
        return [
            route("GET", "/projects", self.all),
            route("POST", "/projects", self.begin, status=201),
            route("GET", "/projects/{name}", self.one),
            route("PATCH", "/projects/{name}", self.change),
            route("DELETE", "/projects/{name}", self.drop),
        ]

    def get(self, who: str, name: str) -> Row:
        """With the ids of its files. Raises Missing."""
        query = "select id, name, instructions, created, updated from projects where id = ? and owner = ?"
        found = self.db.one(query, name, who)
        if found is None:
            raise Missing("project", name)
        return {**found, "files": self.files.used_by(project=name)}

    def listed(self, who: str) -> list[Row]:
        """The last changed first."""
        rows = self.db.all("select id from projects where owner = ? order by updated desc, id", who)
        return [self.get(who, row["id"]) for row in rows]

    def add(self, who: str, name: str, instructions: str, files: list[str]) -> Row:
        count = self.db.count("projects where owner = ?", who)
        if count >= MOST_PROJECTS:
            raise FullError(f"{count:,} projects are kept already; delete some first")
        now = time.time()
        made = {"id": new_id(), "name": name, "instructions": instructions, "created": now, "updated": now}
        with self.db.together():
            for file in files:
                self.files.get(who, file)
            self.db.insert("projects", {**made, "owner": who})
            self.files.use(files, project=made["id"])
        return {**made, "files": list(dict.fromkeys(files))}

    def all(self, request: Request, body: Body) -> Row:
        return {"projects": self.listed(owner(request))}

    def begin(self, request: Request, body: Body) -> Row:
        only(body, "name", "instructions", "files")
        instructions = asked.text(body, "instructions", LONGEST_INSTRUCTIONS) or ""
        files = asked.texts(body, "files", MOST_FILES, LONGEST_ID) or []
        return self.add(owner(request), asked.needed(body, "name", LONGEST_NAME), instructions, files)

    def one(self, request: Request, body: Body) -> Row:
        return self.get(owner(request), named(request))

    def change(self, request: Request, body: Body) -> Row:
        only(body, "name", "instructions", "files")
        before = self.get(owner(request), named(request))
        name = asked.text(body, "name", LONGEST_NAME, least=1) or before["name"]
        instructions = asked.text(body, "instructions", LONGEST_INSTRUCTIONS)
        instructions = before["instructions"] if instructions is None else instructions
        files = asked.texts(body, "files", MOST_FILES, LONGEST_ID)
        with self.db.together():
            self.db.run(
                "update projects set name = ?, instructions = ?, updated = ? where id = ?",
                *(name, instructions, time.time(), before["id"]),
            )
            if files is not None:
                self._set_files(owner(request), before, files)
        if files is not None:
            self.files.sweep()
        return self.get(owner(request), before["id"])

    def drop(self, request: Request, body: Body) -> Row:
        found = self.get(owner(request), named(request))
        with self.db.together():
            self.db.run("delete from projects where id = ?", found["id"])
            self.files.let_go(owner(request), found["files"])
        self.files.sweep()
        return {"id": found["id"], "deleted": True}

    def _set_files(self, who: str, project: Row, files: list[str]) -> None:
        for file in files:
            self.files.get(who, file)
        self.db.run("delete from uses where project = ?", project["id"])
        self.files.use(files, project=project["id"])
        self.files.let_go(who, project["files"])
