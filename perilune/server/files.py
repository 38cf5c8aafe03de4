"""/v1/files: what clients upload, and what batches leave for them."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message

from perilune.errors import RequestError
from perilune.server.guard import TooLarge, error_body
from perilune.server.kept import MOST_FILE_BYTES, MOST_LISTED, Kept

PURPOSES = ("batch", "user_data", "assistants", "evals", "vision", "image", "video")
MOST_NAME = 255
MOST_UPLOADS = 4  # that are read at a time; they pass through temporary files
FORM_BYTES = 1 << 20  # what a form may have beside its file


class Files:
    """The endpoints of files that `kept` holds."""

    def __init__(self, kept: Kept):
        self.kept = kept
        self._uploads = asyncio.Semaphore(MOST_UPLOADS)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/files", self.add, methods=["POST"]),
            Route("/v1/files", self.all, methods=["GET"]),
            Route("/v1/files/{name}", self.one, methods=["GET"]),
            Route("/v1/files/{name}", self.delete, methods=["DELETE"]),
            Route("/v1/files/{name}/content", self.content, methods=["GET"]),
        ]

    async def add(self, request: Request) -> Response:
        """A form with a file and its purpose."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise RequestError("send the file as multipart/form-data, with fields file and purpose")
        try:
            limited = Request(request.scope, _limited(request, MOST_FILE_BYTES + FORM_BYTES))
            form_of = partial(limited.form, max_files=1, max_fields=16, max_part_size=FORM_BYTES)
            async with self._uploads, form_of() as form:
                file, purpose = form.get("file"), form.get("purpose")
                if not isinstance(file, UploadFile):
                    raise RequestError("the form needs a field called file, with a file in it")
                if purpose not in PURPOSES:
                    raise RequestError(f"purpose must be one of {', '.join(PURPOSES)}, got {str(purpose)[:40]!r}")
                record = new_file((file.filename or "upload")[:MOST_NAME], str(purpose))
                made = await run_in_threadpool(self.kept.add_file, request.state.owner, file.file, record)
        except (MultiPartException, HTTPException) as error:
            told = getattr(error, "message", None) or getattr(error, "detail", "")
            raise RequestError(f"the form cannot be read: {str(told)[:200]}") from None
        return JSONResponse(made)

    def all(self, request: Request) -> Response:
        return listed(self.kept, "file", request)

    def one(self, request: Request) -> Response:
        return single(self.kept, "file", request)

    def delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self.kept.drop("file", request.state.owner, name):
            return nothing("file", request)
        return JSONResponse({"id": name, "object": "file", "deleted": True})

    def content(self, request: Request) -> Response:
        found = self.kept.get("file", request.state.owner, request.path_params["name"])
        if not found:
            return nothing("file", request)
        # Whatever it is, a browser must not take it for a page of this server.
        headers = {"x-content-type-options": "nosniff", "content-disposition": "attachment"}
        return FileResponse(self.kept.path(found["id"]), media_type="application/octet-stream", headers=headers)


def new_file(name: str, purpose: str, file_id: str | None = None) -> dict[str, Any]:
    made = {"id": file_id or f"file-{uuid.uuid4().hex}", "object": "file", "created_at": int(time.time())}
    return {**made, "filename": name, "purpose": purpose, "status": "processed"}


def single(kept: Kept, kind: str, request: Request) -> Response:
    """One of a client's records."""
    found = kept.get(kind, request.state.owner, request.path_params["name"])
    return JSONResponse(found) if found else nothing(kind, request)


def listed(kept: Kept, kind: str, request: Request) -> Response:
    """A page of a client's records, newest first."""
    given = request.query_params.get("limit", "100")
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:6]) <= MOST_LISTED:
        raise RequestError(f"limit must be a number from 1 to {MOST_LISTED}, got {given[:40]!r}")
    limit = int(given)
    found = kept.newest(kind, request.state.owner, request.query_params.get("after"), limit + 1)
    data, more = found[:limit], len(found) > limit
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return JSONResponse({"object": "list", "data": data, **ends, "has_more": more})


def nothing(kind: str, request: Request) -> JSONResponse:
    told = f"no {kind} is called {request.path_params['name'][:80]!r} here"
    return JSONResponse(error_body(told, "invalid_request_error", "not_found"), 404)


def _limited(request: Request, most: int) -> Any:
    """The body as it comes, with an end to it."""
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > most:
            raise TooLarge(f"the file is larger than {MOST_FILE_BYTES >> 20} MiB")
        return message

    return receive
