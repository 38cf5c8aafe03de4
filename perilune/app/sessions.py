"""Who sits at the page: a key is asked for once, and a cookie stands for it from then on.

The cookie is a random id; only its hash is kept, with the owner that the key's own records have. A key that the server
no longer knows ends its sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perilune.app.asked import Body, needed, only, route
from perilune.app.database import Database
from perilune.app.wrong_keys import MOST_WRONG, WrongKeys, address_of
from perilune.server.guard import LONGEST_KEY, error_body
from perilune.server.kept import owner_of

COOKIE = "perilune"
LASTS = 30 * 24 * 3600  # seconds without a visit
NOTED = 3600  # a visit is written down so often
MOST_OF_ONE = 64  # sessions; the one unused for longest leaves
LONGEST_COOKIE = 128


class Sessions:
    """POST and DELETE /app/api/session."""

    def __init__(self, database: Database, keys: tuple[str, ...]):
        self.database = database
        self._keys = [key.encode() for key in keys]
        self._owners = {owner_of(key) for key in self._keys}
        self._wrong = WrongKeys()

    def routes(self) -> list[Route]:
        return [route("POST", "/session", self.begin), route("DELETE", "/session", self.end)]

    def owner(self, request: Request) -> str | None:
        """Whose session came with a request."""
        given = request.cookies.get(COOKIE, "")
        if not given or len(given) > LONGEST_COOKIE:
            return None
        found = self.database.one("select owner, used from sessions where id = ?", _hash(given))
        now = time.time()
        if found is None or found["owner"] not in self._owners or found["used"] < now - LASTS:
            return None
        if found["used"] < now - NOTED:
            self.database.run("update sessions set used = ? where id = ?", now, _hash(given))
        return found["owner"]

    def begin(self, request: Request, body: Body) -> Response:
        only(body, "key")
        key = needed(body, "key", LONGEST_KEY).encode()
        same = [one for one in self._keys if hmac.compare_digest(one, key)]
        if wait := self._wrong.wait(address_of(request.client.host if request.client else None), right=bool(same)):
            told = f"{MOST_WRONG} wrong keys came from your address within a minute; wait {wait} s"
            answer = JSONResponse(error_body(told, "rate_limit_error", "too_many_keys"), 429)
            answer.headers["retry-after"] = str(wait)
            return answer
        if not same:
            return JSONResponse(error_body("this key is not known here", "authentication_error", "wrong_key"), 401)
        name = secrets.token_urlsafe(32)
        self._keep(owner_of(same[0]), name)
        answer = JSONResponse({"user": owner_of(same[0])[:8]})
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, name, max_age=LASTS, path="/app", httponly=True, samesite="strict", secure=secure)
        return answer

    def end(self, request: Request, body: Body) -> Response:
        self.database.run("delete from sessions where id = ?", _hash(request.cookies.get(COOKIE, "")))
        answer = JSONResponse({"user": None})
        answer.delete_cookie(COOKIE, path="/app", httponly=True, samesite="strict")
        return answer

    def _keep(self, owner: str, name: str) -> None:
        with self.database.together():
            self.database.insert("sessions", {"id": _hash(name), "owner": owner, "used": time.time()})
            self.database.run("delete from sessions where used < ?", time.time() - LASTS)
            self.database.run(
                "delete from sessions where owner = ? and id not in"
                " (select id from sessions where owner = ? order by used desc limit ?)",
                *(owner, owner, MOST_OF_ONE),
            )


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
