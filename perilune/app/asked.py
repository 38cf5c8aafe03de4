"""What a request to the page's own API may look like: who may change something, and fields that are checked one by one.

Errors are those of the whole server; what belongs to somebody else is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perilune.errors import RequestError
from perilune.fields import show_value
from perilune.server.guard import error_body, read_json

API = "/app/api"
MARK = "x-perilune"  # a header that no other site's page can send without asking first
MOST_BODY = 16 << 20
CHANGES = ("POST", "PATCH", "DELETE")

Body = dict[str, Any]
Act = Callable[[Request, Body], Any]


class Missing(Exception):
    """There is no such thing, or it is not this user's."""

    def __init__(self, kind: str, name: str):
        super().__init__(f"no {kind} is called {name[:80]!r} here")


class InUse(Exception):
    """It cannot be done now; the text says what would have to happen first."""


def route(method: str, path: str, act: Act, *, status: int = 200, most: int = MOST_BODY) -> Route:
    """`act` runs in a thread of its own; what it returns is told as JSON, unless it is a response. POST and PATCH come
    with a JSON object, which may be left out where there is nothing to say."""

    async def answer(request: Request) -> Response:
        refused = changing(request)
        if refused is not None:
            return refused
        body: Body = {}
        if method in ("POST", "PATCH") and _has_body(request):
            body = await read_json(request, most)
        told = await answered(lambda: act(request, body))
        return told if isinstance(told, Response) else JSONResponse(told, status)

    return Route(API + path, answer, methods=[method])


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


async def answered(act: Callable[[], Any]) -> Any:
    """What `act` returns from its thread, or the response that says why not."""
    try:
        return await run_in_threadpool(act)
    except Missing as missing:
        return JSONResponse(error_body(str(missing), "invalid_request_error", "not_found"), 404)
    except InUse as in_use:
        return JSONResponse(error_body(str(in_use), "invalid_request_error", "in_use"), 409)


def changing(request: Request) -> JSONResponse | None:
    """The refusal of a change that may come from another site's page."""
    if request.method not in CHANGES:
        return None
    origin = request.headers.get("origin")
    if origin is not None and origin.split("://", 1)[-1] != request.headers.get("host", ""):
        return JSONResponse(error_body("another site's page may change nothing here", "permission_error"), 403)
    if request.headers.get(MARK) != "1":
        told = f"a change needs the header {MARK}: 1, so that no other site's page can make it"
        return JSONResponse(error_body(told, "permission_error", "header_missing"), 403)
    return None


def owner(request: Request) -> str:
    return request.state.owner


def named(request: Request) -> str:
    """The id in the path."""
    return request.path_params["name"]


def only(body: Body, *names: str) -> None:
    unknown = sorted(body.keys() - set(names))
    if unknown:
        raise RequestError(f"unknown field {show_value(unknown[0], 40)}; known are {', '.join(names)}")


def text(body: Body, name: str, most: int, *, least: int = 0) -> str | None:
    """A text of up to `most` characters, or None where the field is missing or null."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise RequestError(f"{name} must be a text of {least} to {most:,} characters, got {show_value(value, 40)}")
    return value


def needed(body: Body, name: str, most: int) -> str:
    value = text(body, name, most, least=1)
    if value is None:
        raise RequestError(f"{name} is missing: a text of 1 to {most:,} characters")
    return value


def flag(body: Body, name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be true or false, got {show_value(value, 40)}")
    return value


def texts(body: Body, name: str, most: int, longest: int) -> list[str] | None:
    """A list of up to `most` texts of up to `longest` characters."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, str) for one in value):
        raise RequestError(f"{name} must be a list of up to {most:,} texts, got {show_value(value, 40)}")
    if any(len(one) > longest for one in value):
        raise RequestError(f"each of {name} has up to {longest:,} characters")
    return value


def number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number out of the query."""
    given = request.query_params.get(name, str(default))
    if not given.isascii() or not given.isdigit() or not low <= int(given[:12]) <= high:
        raise RequestError(f"{name} must be a number from {low} to {high}, got {given[:40]!r}")
    return int(given)


def moment(request: Request, name: str) -> float | None:
    """A time in seconds since 1970 out of the query."""
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        value = float(given[:40])
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise RequestError(f"{name} must be a time in seconds since 1970, got {given[:40]!r}")
    return value
