"""/app/api/files: uploads, read as they come; what each costs in tokens; their bytes, and their text by lines."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from perilune.api.model import Model
from perilune.app import asked
from perilune.app.asked import API, Body, Missing, answered, changing, named, owner, route
from perilune.app.conversation import MEDIA, inlined
from perilune.app.extract import LONGEST_FILE_NAME, Left, Text, kind_of_file, texts_of
from perilune.app.kept_files import KeptFiles, NewPart
from perilune.app.reading import Documents
from perilune.documents.names import clean_name
from perilune.errors import ContextError, DocumentError, MediaError, MessageError, RequestError
from perilune.fields import show_value
from perilune.media.kinds import HEAD_BYTES, format_of
from perilune.media.parts import LACKS, MAX_ITEM_BYTES, SENSE_OF, Medium
from perilune.server.guard import TooLarge
from perilune.server.kept import FullError

MOST_FILE_BYTES = 1 << 30
MOST_UPLOADS = 4  # that come in at a time
IDLE_SECONDS = 60.0  # without a byte of an upload
MOST_LINES = 5000  # of one answer
MOST_LINE = 20_000  # characters of a line that are shown
MOST_SHOWN = 4 << 20  # characters of one answer
DEEPEST, LONGEST_PIECE = 32, 255  # folders of a name, and characters of each of them
_ROOT = re.compile(r"/|[A-Za-z]:/")

Row = dict[str, Any]


def name_of(given: str) -> str:
    """What an upload is called: a bare name, or the path within the folder that was sent. It is shown and cited, and
    never a path of this machine."""
    name = given.replace("\\", "/").strip()
    pieces = name.split("/")
    fits = len(name) <= LONGEST_FILE_NAME and len(pieces) <= DEEPEST + 1 and max(map(len, pieces)) <= LONGEST_PIECE
    plain = clean_name(name) == name and not _ROOT.match(name)
    if not fits or not plain or any(one.strip() in ("", ".", "..") for one in pieces):
        raise RequestError(
            "name must be the file's name, or its path in the folder that is sent, such as notes/may.txt: 1 to "
            f"{LONGEST_FILE_NAME} characters, at most {DEEPEST} folders of {LONGEST_PIECE} each, no root, no .. and no "
            f"control characters; got {show_value(given, 40)}"
        )
    return name


class Files:
    """The endpoints of files."""

    def __init__(self, model: Model, kept: KeptFiles, documents: Documents):
        self.model, self.kept, self.documents = model, kept, documents
        self._uploads = asyncio.Semaphore(MOST_UPLOADS)

    def routes(self) -> list[Route]:
        return [
            Route(f"{API}/files", self.add, methods=["POST"]),
            route("GET", "/files/{name}", self.one),
            route("GET", "/files/{name}/content", self.content),
            route("GET", "/files/{name}/text", self.text),
            route("DELETE", "/files/{name}", self.drop),
        ]

    async def add(self, request: Request) -> Response:
        """The body is the file, whatever type it is said to be."""
        if (refused := changing(request)) is not None:
            return refused
        name = name_of(request.query_params.get("name", ""))
        path = self.kept.new_path()
        try:
            async with self._uploads:
                digest, size = await self._receive(request, path)
                made = await answered(lambda: self._made(owner(request), name, path, digest, size))
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            path.unlink(missing_ok=True)
        return made if isinstance(made, Response) else JSONResponse(made, 201)

    async def _receive(self, request: Request, path: Path) -> tuple[str, int]:
        """Writes the body down as it comes."""
        digest, size, room = hashlib.sha256(), 0, await run_in_threadpool(self.kept.room)
        coming = aiter(request.stream())
        with path.open("xb") as file:
            while True:
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        piece = await anext(coming, None)
                except TimeoutError:
                    raise RequestError(f"nothing of the file came for {IDLE_SECONDS:g} s; send it again") from None
                if piece is None:
                    break
                size += len(piece)
                if size > MOST_FILE_BYTES:
                    raise TooLarge(f"the file is larger than {MOST_FILE_BYTES >> 20} MiB")
                if size > room:
                    raise FullError("there is no room for this file; delete some first")
                digest.update(piece)
                await run_in_threadpool(file.write, piece)
        if not size:
            raise RequestError("the file is empty: 0 bytes")
        return digest.hexdigest(), size

    def _made(self, who: str, name: str, path: Path, digest: str, size: int) -> Row:
        kind = kind_of_file(path, name)
        file: Row = {"hash": digest, "name": name, "kind": kind, "bytes": size, "tokens": None, "problem": None}
        if kind in MEDIA:
            file["tokens"], file["problem"] = self._weigh(kind, path)
            return self._told(self.kept.add(who, file, path, ()))
        texts, left = texts_of(path, name, kind, self.kept.new_path)
        try:
            parts = [self._counted(text) for text in texts if text.lines]
            file["tokens"] = sum(part.tokens for part in parts)
            return self._told(self.kept.add(who, file, path, parts), left)
        finally:
            for text in texts:
                text.path.unlink(missing_ok=True)

    def _counted(self, text: Text) -> NewPart:
        """A text that alone is longer than the context is refused when it is asked about, and counted all the same."""
        try:
            tokens = self.documents.count(text.name, text.path) if self.documents.reads else None
        except ContextError:
            tokens = None
        if tokens is None:
            if self.model.tokenizer is None:
                raise RequestError("this model has no tokenizer, so it reads no texts")
            tokens = len(self.model.tokenizer.encode(inlined({"name": text.name}, text.path)))
        return NewPart(text.name, text.path, text.hash, text.lines, tokens)

    def _weigh(self, kind: str, path: Path) -> tuple[int | None, str | None]:
        """How many tokens a medium takes, or why it cannot be used."""
        word = MEDIA[kind]
        if SENSE_OF[word] not in self.model.senses.has:
            return None, f"this model has {LACKS[SENSE_OF[word]]}; serve one that has"
        if path.stat().st_size > MAX_ITEM_BYTES[word]:
            return None, f"it has {path.stat().st_size:,} bytes; at most {MAX_ITEM_BYTES[word]:,} are read of a {kind}"
        try:
            return self.model.senses.perceive([Medium(word, path, "the file")])[0].tokens, None
        except (MediaError, MessageError) as error:
            raise DocumentError(str(error)) from None

    def one(self, request: Request, body: Body) -> Row:
        found = self.kept.get(owner(request), named(request))
        return self._told(found)

    def _told(self, file: Row, left: Sequence[Left] = ()) -> Row:
        names = ("id", "name", "bytes", "kind", "tokens", "created")
        told = {name: file[name] for name in names}
        parts = self.kept.parts(file["id"])
        if file["problem"]:
            told["problem"] = file["problem"]
        if parts:
            told["parts"] = [{name: part[name] for name in ("name", "bytes", "lines", "tokens")} for part in parts]
        if left:
            told["left_out"] = [{"name": one.name, "reason": one.reason} for one in left]
        return {**told, "stored": self.documents.is_stored(file["owner"], file["id"])}

    def content(self, request: Request, body: Body) -> Response:
        found = self.kept.get(owner(request), named(request))
        # Whatever it is, a browser must not take it for a page of this server. Only pictures, sounds and clips, which
        # can be shown, are called what they are.
        headers = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}
        path = self.kept.path(found["hash"])
        with path.open("rb") as file:
            form = format_of(file.read(HEAD_BYTES))
        media_type = f"{MEDIA[found['kind']]}/{form}" if found["kind"] in MEDIA else "application/octet-stream"
        return FileResponse(path, media_type=media_type, headers=headers, filename=found["name"].rsplit("/", 1)[-1])

    def text(self, request: Request, body: Body) -> Row:
        """Lines `from` to `to` of a part: the one called `part`, or the first one."""
        found = self.kept.get(owner(request), named(request))
        first = asked.number(request, "from", 1, 1, 10**9)
        last = asked.number(request, "to", first + 399, first, first + MOST_LINES - 1)
        wanted, parts = request.query_params.get("part"), self.kept.parts(found["id"])
        chosen = [part for part in parts if wanted in (None, part["name"])]
        if not chosen:
            raise Missing("part", wanted or "text")
        lines, cut, shown = list[str](), list[int](), 0
        with self.kept.path(chosen[0]["hash"]).open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(islice(file, first - 1, last), first):
                line = line.removesuffix("\n")
                if len(line) > MOST_LINE:
                    line, _ = line[:MOST_LINE], cut.append(number)
                shown += len(line)
                if shown > MOST_SHOWN:
                    break
                lines.append(line)
        return {"name": chosen[0]["name"], "from": first, "lines": lines, "total": chosen[0]["lines"], "cut": cut}

    def drop(self, request: Request, body: Body) -> Row:
        found = self.kept.get(owner(request), named(request))
        self.kept.drop(owner(request), found["id"])
        return {"id": found["id"], "deleted": True}
