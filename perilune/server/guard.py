"""Who may come in, and with how much: keys, the names this server goes by, other sites' pages, the size of a body."""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perilune.errors import RequestError
from perilune.fields import finite
from perilune.server.door import Door
from perilune.server.kept import owner_of

MOST_BODY_BYTES = 64 << 20
MOST_HEADERS, MOST_HEADER_BYTES = 128, 32 << 10
LONGEST_TARGET = 8 << 10  # bytes of a path and its query
OPEN_PATHS = ("/health", "/ready")  # say nothing about anybody
OWNER_HEADER = "x-perilune-owner"  # from the front of several replicas: for whom it asks
SHORTEST_KEY, LONGEST_KEY = 8, 512
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # one half of a pair; alone it is no text
MOST_KEY_FILE = 1 << 16


class TooLarge(Exception):
    """A body is larger than what is read."""


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """What went wrong in the shape that OpenAI's clients expect, and Anthropic's, too."""
    return {"type": "error", "error": {"message": message, "type": kind, "param": None, "code": code}}


def no_such_model(asked: str, there: str) -> JSONResponse:
    told = f"no model is called {asked[:80]!r} here; there is {there!r}"
    return JSONResponse(error_body(told, "invalid_request_error", "model_not_found"), 404)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_keys(key: str | None, file: Path | None) -> tuple[str, ...]:
    """Keys from the command line and from a file, one a line; # begins a comment."""
    keys = [key] if key is not None else []
    if file is not None:
        try:
            with file.open("rb") as opened:
                raw = opened.read(MOST_KEY_FILE + 1)
            text = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"--api-key-file {file} cannot be read: {error}") from None
        if len(raw) > MOST_KEY_FILE:
            raise RequestError(f"--api-key-file {file} is larger than {MOST_KEY_FILE >> 10} KiB")
        keys += [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise RequestError(f"--api-key-file {file} holds no key")
    for one in keys:
        if not SHORTEST_KEY <= len(one) <= LONGEST_KEY or not one.isascii() or not one.isprintable() or " " in one:
            raise RequestError(f"an API key has {SHORTEST_KEY} to {LONGEST_KEY} ASCII characters without spaces")
    return tuple(keys)


def new_key() -> str:
    return "pl-" + secrets.token_urlsafe(32)


class Guard:
    """Stands before all routes. Without keys only this machine's own names are answered, so that no web page can reach
    the server under a name of its own (DNS rebinding); pages of other sites are refused with keys, too."""

    def __init__(
        self,
        app: ASGIApp,
        keys: tuple[str, ...],
        origins: tuple[str, ...] = (),
        on_refused: Callable[[int], None] = lambda status: None,
        fronted: bool = False,
        door: Door | None = None,
    ):
        """`on_refused` hears of the status of every answer that is an error, but for faults of the server's own.
        Whoever has a key of a `fronted` server says for whom it asks. A `door` knows the sessions of its page."""
        self.app, self.origins, self.on_refused, self.fronted, self.door = app, origins, on_refused, fronted, door
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self.on_refused(message["status"])
            await send(message)

        request = Request(scope)
        key = self._key_of(request)
        session = self.door.owner(request) if self.door and self._keys and key is None else None
        refused = self._refusal(request, key is not None or session is not None)
        request.state.owner = request.headers.get(OWNER_HEADER, "") if self.fronted else session or owner_of(key)
        request.state.known = not self._keys or key is not None or session is not None
        await (refused(scope, receive, watched) if refused else self.app(scope, receive, watched))

    def _refusal(self, request: Request, known: bool) -> JSONResponse | None:
        if too_long := _too_long(request.scope):
            return too_long
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not self._keys and not is_loopback(name):
            told = f"this server answers to localhost only, not to {name[:80]!r}; start it with an API key"
            return JSONResponse(error_body(told, "permission_error", "host_not_allowed"), 403)
        origin, path = request.headers.get("origin"), request.scope["path"]
        if self.door and request.method in ("GET", "HEAD") and self.door.is_static(path):
            return None
        if origin is not None and origin.split("://", 1)[-1] != host and origin not in self.origins:
            return JSONResponse(error_body("pages of other sites are not served", "permission_error"), 403)
        is_open = path in OPEN_PATHS or (self.door is not None and self.door.is_open(path))
        if self._keys and not is_open and not known:
            told = "the API key is missing or wrong: send it as Authorization: Bearer KEY, or as x-api-key"
            response = JSONResponse(error_body(told, "authentication_error", "invalid_api_key"), 401)
            response.headers["www-authenticate"] = "Bearer"
            return response
        return None

    def _key_of(self, request: Request) -> bytes | None:
        """The key that came with a request, if it is one of ours."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        key = given.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
        # Every key is compared, so that the time taken tells nothing.
        same = [one for one in self._keys if hmac.compare_digest(key.encode(), one)]
        return same[0] if same else None


def _too_long(scope: Scope) -> JSONResponse | None:
    """The refusal of a request whose head is larger than any that means well."""
    headers, target = scope["headers"], len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if target > LONGEST_TARGET:
        told = f"the path and its query have {target} bytes; at most {LONGEST_TARGET} are read"
        return JSONResponse(error_body(told, "invalid_request_error"), 414)
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        told = f"{len(headers)} headers of {size} bytes; at most {MOST_HEADERS} of {MOST_HEADER_BYTES} are read"
        return JSONResponse(error_body(told, "invalid_request_error"), 431)
    return None


async def read_json(request: Request, most: int = MOST_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object; raises RequestError, or TooLarge before it is all read."""
    return parse_json(await read_body(request, most))


async def read_body(request: Request, most: int = MOST_BODY_BYTES) -> bytes:
    """A body that says that it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(f"send the body as application/json, not as {kind[:80] or 'nothing'}")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge(f"the body is larger than {most >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def parse_json(raw: bytes) -> dict[str, Any]:
    """Raises RequestError for what is no JSON object, or holds what JSON cannot say."""
    try:
        body = json.loads(raw, parse_constant=finite, parse_float=finite)
        if SURROGATE.search(raw):
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    return body
