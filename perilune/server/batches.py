"""/v1/batches: files of requests that are answered while nobody waits, one batch after the other.

A batch goes on where it was after a restart: answers are appended to a file of its own as they come.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import IO, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perilune.api.batch import URL, BatchResult, read_lines
from perilune.errors import PeriluneError, RequestError
from perilune.server.files import listed, new_file, nothing, single
from perilune.server.guard import read_json
from perilune.server.kept import Kept

TOGETHER = 8  # requests of a batch at a time; others get the rest of the engine's places
PRIORITY = 50  # whoever waits for a reply comes first
MOST_INPUT_BYTES = 200 << 20
WINDOW_SECONDS = 24 * 3600
TELL_SECONDS = 2.0  # how often the counts of a running batch are written down
ENDED = ("completed", "failed", "cancelled")
TIMES = ("in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
logger = logging.getLogger("perilune.server")


class Batches:
    """The endpoints of batches, and the thread that answers them."""

    def __init__(self, run: Callable[..., BatchResult], kept: Kept):
        """`run` is run_batch with a model, or takes the same options and does the same."""
        self.run, self.kept = run, kept
        (kept.folder / "batches").mkdir(exist_ok=True)
        self._closing, self._stop = threading.Event(), threading.Event()
        self._waiting: SimpleQueue[tuple[str, str]] = SimpleQueue()  # owner and id; an empty id ends the thread
        self._running = ""
        self._changing = threading.RLock()  # a batch that is cancelled must not be written over as running
        self._thread = threading.Thread(target=self._work, name="batches")

    def start(self) -> None:
        for owner, batch in self.kept.everyones("batch"):
            if batch["status"] not in ENDED:
                self._waiting.put((owner, batch["id"]))
        self._thread.start()

    def close(self) -> None:
        """What runs is stopped and goes on with the next start."""
        self._closing.set()
        self._stop.set()
        self._waiting.put(("", ""))
        if self._thread.is_alive():
            self._thread.join()

    def routes(self) -> list[Route]:
        return [
            Route("/v1/batches", self.add, methods=["POST"]),
            Route("/v1/batches", self.all, methods=["GET"]),
            Route("/v1/batches/{name}", self.one, methods=["GET"]),
            Route("/v1/batches/{name}/cancel", self.cancel, methods=["POST"]),
        ]

    async def add(self, request: Request) -> Response:
        body = await read_json(request)
        for name, right in (("endpoint", URL), ("completion_window", "24h")):
            if body.get(name) != right:
                raise RequestError(f"{name} must be {right!r}, got {str(body.get(name))[:80]!r}")
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict) or len(json.dumps(metadata)) > 1 << 16:
            raise RequestError("metadata must be a small object")
        source = str(body.get("input_file_id"))
        file = self.kept.get("file", request.state.owner, source)
        if file is None:
            raise RequestError(f"input_file_id names no file: {source[:80]!r}; upload it first with purpose batch")
        if file["bytes"] > MOST_INPUT_BYTES:
            raise RequestError(f"a batch reads files of up to {MOST_INPUT_BYTES >> 20} MiB; cut it into several")
        batch = _new_batch(source, metadata)
        await run_in_threadpool(self.kept.put, "batch", request.state.owner, batch)
        self._waiting.put((request.state.owner, batch["id"]))
        return JSONResponse(batch)

    def all(self, request: Request) -> Response:
        return listed(self.kept, "batch", request)

    def one(self, request: Request) -> Response:
        return single(self.kept, "batch", request)

    def cancel(self, request: Request) -> Response:
        owner, name = request.state.owner, request.path_params["name"]
        with self._changing:
            found = self.kept.get("batch", owner, name)
            if found is None:
                return nothing("batch", request)
            if found["status"] in ENDED:
                raise RequestError(f"this batch is {found['status']} already")
            found = self._mark(owner, found, "cancelling")
            if self._running == name:
                self._stop.set()
        return JSONResponse(found)

    def _mark(self, owner: str, batch: Mapping[str, Any], status: str, **more: Any) -> dict[str, Any]:
        marked = {**batch, "status": status, f"{status}_at": int(time.time()), **more}
        self.kept.put("batch", owner, marked)
        return marked

    def _work(self) -> None:
        while not self._closing.is_set():
            owner, name = self._waiting.get()
            batch = self.kept.get("batch", owner, name)
            if batch is None:
                continue
            try:
                self._answer(owner, batch)
            except PeriluneError as error:
                self._fail(owner, batch, str(error))
            except Exception:  # the next batch may be a good one
                logger.exception("a fault of the server's own in %s", name)
                self._fail(owner, batch, "a fault of the server's own; its log says more")

    def _fail(self, owner: str, batch: Mapping[str, Any], told: str) -> None:
        fault = {"code": "invalid_request", "message": told, "param": None, "line": None}
        self._mark(owner, batch, "failed", errors={"object": "list", "data": [fault]})

    def _answer(self, owner: str, batch: dict[str, Any]) -> None:
        out = self.kept.folder / "batches" / f"{batch['id']}.jsonl"
        lines = [] if batch["status"] == "cancelling" else read_lines(self.kept.path(batch["input_file_id"]))
        batch = self._begin(owner, batch["id"], len(lines))
        told = time.monotonic()

        def on_done(done: int, total: int) -> None:
            nonlocal told
            with self._changing:
                if time.monotonic() - told >= TELL_SECONDS and not self._stop.is_set():
                    told = time.monotonic()
                    self.kept.put("batch", owner, {**batch, "request_counts": _counts(total, done, 0)})

        if batch["status"] == "in_progress" and not self._closing.is_set():
            options = {"together": TOGETHER, "on_done": on_done, "stop": self._stop, "cache_salt": owner}
            self.run(lines, out, priority=PRIORITY, **options)
        if not self._closing.is_set():
            self._end(owner, batch["id"], out)

    def _begin(self, owner: str, name: str, lines: int) -> dict[str, Any]:
        with self._changing:
            batch = self.kept.get("batch", owner, name)
            assert batch is not None, "batches are never deleted"
            self._running = name
            self._stop.clear()
            if batch["status"] == "cancelling":
                return batch
            return self._mark(owner, batch, "in_progress", request_counts=_counts(lines, 0, 0))

    def _end(self, owner: str, name: str, out: Path) -> None:
        """Ids of the files follow from the batch's: after a kill in here the same files are made again."""
        made: dict[str, Any] = {}
        with TemporaryFile() as good, TemporaryFile() as bad:
            answered, failed = _split(out, good, bad)
            for kind, count, file in (("output", answered, good), ("error", failed, bad)):
                file.seek(0)
                if count:
                    record = new_file(f"{name}_{kind}.jsonl", f"batch_{kind}", f"file-{name}-{kind}")
                    made[f"{kind}_file_id"] = self.kept.add_file(owner, file, record)["id"]
        with self._changing:
            batch = self.kept.get("batch", owner, name)
            assert batch is not None, "batches are never deleted"
            status = "cancelled" if batch["status"] == "cancelling" else "completed"
            total = max(batch["request_counts"]["total"], answered + failed)
            self._mark(owner, batch, status, request_counts=_counts(total, answered, failed), **made)
        out.unlink(missing_ok=True)


def _new_batch(source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {
        "id": f"batch_{uuid.uuid4().hex}",
        "object": "batch",
        "endpoint": URL,
        "input_file_id": source,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "errors": None,
        "created_at": now,
        **{f"{name}_at": None for name in TIMES},
        "expires_at": now + WINDOW_SECONDS,
        "request_counts": _counts(0, 0, 0),
        "metadata": metadata,
    }


def _counts(total: int, completed: int, failed: int) -> dict[str, int]:
    return {"total": total, "completed": completed, "failed": failed}


def _split(out: Path, good: IO[bytes], bad: IO[bytes]) -> tuple[int, int]:
    answered = failed = 0
    with out.open("rb") if out.exists() else BytesIO() as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                continue
            is_good = json.loads(raw)["error"] is None
            answered, failed = answered + is_good, failed + (not is_good)
            (good if is_good else bad).write(raw)
    return answered, failed
