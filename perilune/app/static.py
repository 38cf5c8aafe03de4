"""The files of the page as they lie in its folder, and what each of them may do in a browser.

The page itself runs its own scripts and asks this server only. Files below frames/ run what a model wrote: they have
no origin, so they reach neither the API nor the page, and load libraries and files beside them alone.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
FRAMES, VENDOR = "frames/", "vendor/"
HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")  # what may stand in a policy
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".py": "text/plain; charset=utf-8",
}
PACKED = (".html", ".css", ".js", ".mjs", ".json", ".svg", ".wasm", ".txt", ".py")
MOST_KEPT = 256  # files whose packed form is remembered
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self'; frame-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# `files` are libraries and the frames' own files, by their full address: a frame without an origin has no 'self'.
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: {files}; "
    "style-src 'unsafe-inline'; img-src blob: data:; media-src blob: data:; font-src data:; connect-src {files}; "
    "worker-src blob: {files}; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Static:
    """GET / and /app/…, from one folder."""

    def __init__(self, folder: Path = FOLDER):
        self._files = StaticFiles(directory=folder, check_dir=False)

    def routes(self) -> list[Route]:
        return [Route("/", self.tell), Route("/app", self.tell), Route("/app/{path:path}", self.tell)]

    def find(self, path: str) -> tuple[str, Path] | None:
        """The name below the folder and the file of a path, if one lies there."""
        name = INDEX if path in ("/", "/app", "/app/") else path.removeprefix("/app/")
        if not path.startswith("/") or (path.startswith("/app/api/") or (name == path)) or "\0" in name:
            return None
        try:
            full, status = self._files.lookup_path(os.path.normpath(name))
        except (OSError, ValueError):
            return None
        found = Path(full)
        return (name, found) if status is not None and found.is_file() else None

    async def tell(self, request: Request) -> Response:
        found = self.find(request.scope["path"])
        if found is None:
            raise HTTPException(404)
        name, path = found
        data, packed, mark = _read(path, path.stat().st_mtime_ns)
        headers = self._headers(request, name) | {"etag": mark, "vary": "accept-encoding"}
        if mark in [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        if packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            data, headers["content-encoding"] = packed, "gzip"
        kind = TYPES.get(path.suffix.lower(), "application/octet-stream")
        return Response(data, headers=headers, media_type=kind)

    def _headers(self, request: Request, name: str) -> dict[str, str]:
        policy = PAGE_POLICY
        if name.startswith(FRAMES):
            host = request.headers.get("host", "")
            base = f"{request.url.scheme}://{host}/app/" if HOST.fullmatch(host) else "/none/"
            policy = FRAME_POLICY.format(files=f"{base}{VENDOR} {base}{FRAMES}")
        # The name of a library's folder holds its version, so what lies there never changes.
        lasting = "public, max-age=31536000, immutable" if name.startswith(VENDOR) else "no-cache"
        told = {"content-security-policy": policy, "cache-control": lasting, "access-control-allow-origin": "*"}
        told |= {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
        return told | {"cross-origin-resource-policy": "cross-origin" if "/" in name else "same-origin"}


@lru_cache(MOST_KEPT)
def _read(path: Path, changed: int) -> tuple[bytes, bytes | None, str]:
    """The bytes, the same packed where that is worth it, and what they are known by."""
    data = path.read_bytes()
    packed = gzip.compress(data, 6, mtime=0) if path.suffix.lower() in PACKED else None
    return data, packed, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
