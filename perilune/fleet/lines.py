"""The lines of batches, which the front sends to replicas as clients send requests."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

from perilune.api.batch import URL, BatchResult, Line, answer_lines
from perilune.engine.scheduler import BusyError
from perilune.errors import ContextError, RequestError
from perilune.fleet.routing import asked_of
from perilune.fleet.sending import LostError, NoReplicaError, Sender
from perilune.server.answers import LOOK_SECONDS
from perilune.server.app import RETRY_SECONDS

STOPPED = "the batch was stopped"  # said to nobody: the line is asked again with the next start
MOST_LOST = 5  # times that replicas may die with a line before it is taken for the reason
ERRORS = {"busy": BusyError, "context_length_exceeded": ContextError}


class Lines:
    """Answers lines in the threads of a batch. A line that no replica has time for is sent again until one has."""

    def __init__(self, sender: Sender, name: str):
        """`name` is what replicas call the model; lines may call it as they like."""
        self.sender, self.name = sender, name
        self.loop: asyncio.AbstractEventLoop | None = None  # that of the front, once it runs

    def run(
        self, lines: list[Line], out: Path, *, priority: int = 0, cache_salt: str = "", **options: Any
    ) -> BatchResult:
        """As run_batch, with no model of its own."""

        def answer(line: Line, stopping: threading.Event) -> dict[str, Any]:
            given = 0 if line.body.get("priority") is None else line.body["priority"]
            fixed: dict[str, Any] = {"model": self.name, "stream": False}
            fixed["priority"] = max(given, priority) if type(given) is int else given
            lost = 0
            while lost < MOST_LOST:
                try:
                    told = self._asked({**line.body, **fixed}, cache_salt, stopping)
                    return {**told, "model": str(line.body.get("model", ""))}
                except (BusyError, NoReplicaError) as error:
                    lost += isinstance(error, LostError)
                if stopping.wait(RETRY_SECONDS):
                    raise RequestError(STOPPED)
            raise RequestError("replicas died whenever they had this line")

        return answer_lines(answer, lines, out, **options)

    def _asked(self, body: dict[str, Any], owner: str, stopping: threading.Event) -> dict[str, Any]:
        assert self.loop is not None, "batches start after the front"
        asking = asyncio.run_coroutine_threadsafe(self._send(body, owner), self.loop)
        while not stopping.is_set():
            try:
                return asking.result(LOOK_SECONDS)
            except NotYet:
                continue
        asking.cancel()
        raise RequestError(STOPPED)

    async def _send(self, body: dict[str, Any], owner: str) -> dict[str, Any]:
        sent = await self.sender.send("POST", URL, json.dumps(body).encode(), asked=asked_of(body, owner), owner=owner)
        await sent.aclose()
        told = json.loads(sent.whole)
        if sent.status == 200:
            return told
        raise ERRORS.get(told["error"]["code"], RequestError)(told["error"]["message"])
