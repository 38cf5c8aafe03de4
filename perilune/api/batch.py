"""Many conversations from a file, answered together: JSON lines in the shape of OpenAI's batch files, in and out.

Answers are written as they are finished, one line each, so a run that is stopped or killed goes on where it was. An
answer does not depend on what else was in the file.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perilune.api.openai import choices_of, completion
from perilune.errors import PeriluneError, RequestError
from perilune.fields import show_value
from perilune.media.parts import Fetch, local

if TYPE_CHECKING:
    from perilune.api.model import Model
    from perilune.api.streams import ChatReply

URL = "/v1/chat/completions"
MAX_LINE_BYTES = 64 << 20
MAX_LINES = 1_000_000
MAX_ID = 512

OnDone = Callable[[int, int], None]


@dataclass(frozen=True)
class Line:
    custom_id: str
    body: Mapping[str, Any]


# The body of a completion for a line; raises PeriluneError where there is none.
Answer = Callable[[Line, threading.Event], dict[str, Any]]


@dataclass
class BatchResult:
    """Counts of lines: those answered before, answered now, and refused."""

    before: int = 0
    answered: int = 0
    failed: int = 0
    left: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    errors: list[str] = field(default_factory=list)


def read_lines(path: Path) -> list[Line]:
    """All requests of a batch file; raises RequestError with the number of the first line that is none."""
    lines: list[Line] = []
    seen: set[str] = set()
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(_raw_lines(file, path), 1):
                if raw.strip():
                    lines.append(_parse(raw, f"{path.name}, line {number}"))
                    if lines[-1].custom_id in seen:
                        raise RequestError(
                            f"{path.name}, line {number}: custom_id {show_value(lines[-1].custom_id)} came before"
                        )
                    seen.add(lines[-1].custom_id)
    except OSError as error:
        raise RequestError(f"the batch file cannot be read: {error}") from error
    if not lines:
        raise RequestError(f"{path.name} holds no requests")
    return lines


def _raw_lines(file: Any, path: Path) -> Iterator[bytes]:
    for number in range(1, MAX_LINES + 2):
        raw = file.readline(MAX_LINE_BYTES + 1)
        if not raw:
            return
        if len(raw) > MAX_LINE_BYTES:
            raise RequestError(f"{path.name}, line {number} is longer than {MAX_LINE_BYTES >> 20} MiB")
        yield raw
    raise RequestError(f"{path.name} holds more than {MAX_LINES:,} lines")


def _parse(raw: bytes, where: str) -> Line:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where} is not JSON: {show_value(str(error))}") from None
    if not isinstance(found, dict):
        raise RequestError(f"{where} is not a JSON object")
    name, body = found.get("custom_id"), found.get("body")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_ID:
        raise RequestError(f"{where}: custom_id must be a text of 1 to {MAX_ID} characters, got {show_value(name)}")
    if found.get("url", URL) != URL or found.get("method", "POST") != "POST":
        raise RequestError(f"{where}: only POST {URL} is answered")
    if not isinstance(body, dict):
        raise RequestError(f"{where}: body must be an object with messages")
    return Line(name, body)


def answered_before(out: Path) -> set[str]:
    """Which requests an earlier run has answered. What it left unfinished, or could not answer, is taken out."""
    if not out.exists():
        return set()
    kept, names = [], set()
    with out.open("rb") as file:
        for raw in _raw_lines(file, out):
            if not raw.endswith(b"\n"):
                continue  # a run was killed while it wrote this
            try:
                found = json.loads(raw)
                name, error = found["custom_id"], found["error"]
            except (ValueError, RecursionError, KeyError, TypeError):
                raise RequestError(f"{out} is not the output of a batch; name another file") from None
            if error is None and isinstance(name, str):
                kept.append(raw)
                names.add(name)
    part = out.with_name(out.name + ".part")
    with part.open("wb") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    part.replace(out)
    return names


def run_batch(
    model: Model,
    lines: list[Line],
    out: Path,
    *,
    together: int,
    on_done: OnDone | None = None,
    stop: threading.Event | None = None,
    cache_salt: str = "",
    priority: int = 0,
    gate: Callable[[], Fetch] = lambda: local,
) -> BatchResult:
    """Answers every line that `out` does not answer yet, `together` at a time. Ctrl-C, or `stop`, writes nothing
    half. `cache_salt` as in Model.stream; no line has a lower priority than `priority`, and what its messages name is
    read through a `gate` of its own."""
    if not 1 <= together <= model.engine.scheduler.max_batch:
        raise RequestError(f"together must be from 1 to {model.engine.scheduler.max_batch}, got {together}")

    def answer(line: Line, stopping: threading.Event) -> dict[str, Any]:
        replies = _answer(model, line, stopping, priority, {"cache_salt": cache_salt, "fetch": gate()})
        return completion(replies, str(line.body.get("model", "")), line.body.get("tools"))

    return answer_lines(answer, lines, out, together=together, on_done=on_done, stop=stop)


def answer_lines(
    answer: Answer,
    lines: list[Line],
    out: Path,
    *,
    together: int,
    on_done: OnDone | None = None,
    stop: threading.Event | None = None,
) -> BatchResult:
    """What run_batch does, with `answer` called in threads; what it says once it has been told to stop is dropped."""
    try:
        before = answered_before(out)
        file = out.open("ab")
    except OSError as error:
        raise RequestError(f"{out} cannot be written: {error}") from error
    todo = [line for line in lines if line.custom_id not in before]
    result = BatchResult(before=len(lines) - len(todo), left=len(todo))
    stopping = stop or threading.Event()
    waiting, running = iter(todo), {}
    with file, ThreadPoolExecutor(together) as team:
        try:
            while True:
                while len(running) < together and (line := next(waiting, None)):
                    running[team.submit(answer, line, stopping)] = line
                if not running:
                    return result
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                if stopping.is_set():
                    return result
                for future in done:
                    _write(file, running.pop(future), future, result)
                    if on_done:
                        on_done(len(lines) - result.left, len(lines))
        finally:
            stopping.set()


def _answer(
    model: Model, line: Line, stopping: threading.Event, priority: int, shared: dict[str, Any]
) -> list[ChatReply]:
    def own(options: dict[str, Any]) -> dict[str, Any]:
        given = options.get("priority", 0)
        return {**options, **shared, "priority": max(given, priority) if type(given) is int else given}

    with ExitStack() as opened:
        streams = [opened.enter_context(model.stream(**own(options))) for options in choices_of(line.body)]
        for stream in streams:  # reading one steps the engine for all of them
            for _ in stream:
                if stopping.is_set():
                    break
        return [stream.reply for stream in streams]


def _write(file: Any, line: Line, future: Future[dict[str, Any]], result: BatchResult) -> None:
    told: dict[str, Any] = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line.custom_id}
    try:
        body = future.result()
    except PeriluneError as error:
        result.failed += 1
        result.errors.append(f"{line.custom_id}: {error}")
        told |= {"response": None, "error": {"code": type(error).__name__, "message": str(error)}}
    else:
        result.answered += 1
        result.prompt_tokens += body["usage"]["prompt_tokens"]
        result.completion_tokens += body["usage"]["completion_tokens"]
        told |= {"response": {"status_code": 200, "request_id": told["id"], "body": body}, "error": None}
    result.left -= 1
    file.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
    file.flush()
