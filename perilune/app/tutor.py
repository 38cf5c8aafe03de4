"""/app/api/tutor: what the tutor knows of a learner, as JSON that the learner can see and edit.

What stands in it is the page's affair; here it is kept, within bounds, and nobody else sees it.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from perilune.app.asked import Body, only, owner, route
from perilune.app.database import Database
from perilune.errors import RequestError
from perilune.fields import show_value

EMPTY: dict[str, Any] = {"subjects": [], "plan": {}, "mastery": {}}
MOST_BYTES = 1 << 20
MOST_DEPTH = 16


class Tutor:
    """GET and PATCH; a field that is given replaces the one that was there."""

    def __init__(self, database: Database):
        self.db = database

    def routes(self) -> list[Route]:
        return [route("GET", "/tutor", self.tell), route("PATCH", "/tutor", self.change, most=MOST_BYTES)]

    def of(self, who: str) -> dict[str, Any]:
        found = self.db.one("select told from tutors where owner = ?", who)
        return EMPTY | (json.loads(found["told"]) if found else {})

    def put(self, who: str, changes: dict[str, Any]) -> dict[str, Any]:
        for name, value in changes.items():
            if not isinstance(value, type(EMPTY[name])):
                kind = "list" if isinstance(EMPTY[name], list) else "object"
                raise RequestError(f"{name} must be a JSON {kind}, got {show_value(value, 40)}")
            _check_depth(value, name)
        with self.db.together():
            told = json.dumps(self.of(who) | changes)
            if len(told) > MOST_BYTES:
                raise RequestError(f"the tutor's notes would have {len(told):,} bytes; at most {MOST_BYTES:,} are kept")
            self.db.run("insert or replace into tutors (owner, told) values (?, ?)", who, told)
        return json.loads(told)

    def tell(self, request: Request, body: Body) -> dict[str, Any]:
        return self.of(owner(request))

    def change(self, request: Request, body: Body) -> dict[str, Any]:
        only(body, *EMPTY)
        return self.put(owner(request), body)


def _check_depth(value: Any, name: str) -> None:
    """Walks level by level, since what is too deep must not be gone into."""
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise RequestError(f"{name} is nested deeper than {MOST_DEPTH} levels")


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
