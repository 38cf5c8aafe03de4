"""`perilune bench serve`: what clients get from a server under load, against the same replies without a server.

The server is a process of its own. Each client asks again as soon as it has its reply; replies do not end before they
are as long as they may be, so all of them have the same length. `soak` goes on with replies of mixed lengths, and
clients that hang up in the middle, and watches the server's memory.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perilune.api.model import Model
from perilune.bench.machine import describe
from perilune.errors import RequestError

MOST_CLIENTS = 1024
ROUNDS = 3  # replies of each client
WARM_SHARE = 0.25  # of a soak, before memory is compared
HANG_UP = 0.2  # of the replies of a soak
RETRY_SECONDS = 0.5
SOAK_TOKENS = (4, 256)
HEAD = (
    "POST /v1/chat/completions HTTP/1.1",
    "host: localhost",
    "content-type: application/json",
    "connection: close",
)
TOLD = re.compile(rb'"(?:content|reasoning_content)": "[^"]')
OnPart = Callable[[str], None]


@dataclass(frozen=True)
class ServeRow:
    """So many clients at a time. Seconds; `spread` is the longest of the last replies by the shortest."""

    clients: int
    tokens_per_second: float
    alone_tokens_per_second: float  # the same replies from the same number of threads, without a server
    first_median: float
    first_95: float
    spread: float
    refused: int


@dataclass(frozen=True)
class Soak:
    clients: int
    seconds: float
    replies: int
    hung_up: int
    refused: int
    failed: int
    memory_warm: float  # bytes of the server's memory after the warm-up
    memory_end: float
    spread: float  # turns of the client that had most by those of the one that had fewest

    @property
    def growth(self) -> float:
        return self.memory_end / self.memory_warm - 1


@dataclass(frozen=True)
class ServeResult:
    tokens: int
    rows: tuple[ServeRow, ...]
    soak: Soak | None = None
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        return "\n".join([_row_text(row) for row in self.rows] + ([_soak_text(self.soak)] if self.soak else []))


def _row_text(row: ServeRow) -> str:
    alone = f"{row.alone_tokens_per_second:,.0f} without a server"
    first = f"first token {row.first_median:.2f} s (95 %: {row.first_95:.2f} s)"
    rest = f"longest reply by shortest {row.spread:.2f}, refused {row.refused}"
    return f"{row.clients:>4} clients: {row.tokens_per_second:,.0f} tokens/s ({alone}), {first}, {rest}"


def _soak_text(soak: Soak) -> str:
    ends = f"{soak.replies} replies, {soak.hung_up} hung up, {soak.refused} refused, {soak.failed} failed"
    memory = f"{soak.memory_warm / 1e6:,.0f} to {soak.memory_end / 1e6:,.0f} MB ({100 * soak.growth:+.1f} %)"
    spread = f"most turns of a client by fewest {soak.spread:.2f}"
    return f"{soak.clients:>4} clients for {soak.seconds:.0f} s: {ends}, memory {memory}, {spread}"


@dataclass(frozen=True)
class Heard:
    """One reply as its client saw it; times since it asked."""

    status: int
    first: float = 0.0
    seconds: float = 0.0
    events: int = 0


def bench_serve(
    model: Model, words: list[str], counts: list[int], tokens: int, soak: float = 0, on_part: OnPart = lambda _: None
) -> ServeResult:
    """`words` tell the server what to load, and how: the same as `model`."""
    for count in counts:
        if not 1 <= count <= MOST_CLIENTS:
            raise RequestError(f"clients must be from 1 to {MOST_CLIENTS}, got {count}")
    alone = {}
    for count in counts:
        on_part(f"{count} without a server")
        alone[count] = _alone(model, count, tokens)
    rows, soaked = [], None
    with running_server(words, 2 * max(counts)) as (port, process):
        asyncio.run(_load(port, 1, tokens, "warm"))
        for count in counts:
            on_part(f"{count} clients")
            rows.append(_row(count, tokens, alone[count], *asyncio.run(_load(port, count, tokens, "asked"))))
        if soak:
            on_part(f"{max(counts)} clients for {soak:.0f} s")
            soaked = asyncio.run(_soak(port, process, max(counts), soak))
    return ServeResult(tokens, tuple(rows), soaked)


def _asked(who: str, tokens: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"Tell me a story about {who}."}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }


def _alone(model: Model, count: int, tokens: int) -> float:
    """Tokens a second of threads that follow replies of one engine."""

    def one(client: int) -> int:
        return sum(len(model.chat(**_asked(f"{client}, {i}", tokens), thinking=False).tokens) for i in range(ROUNDS))

    model.chat(**_asked("nobody", tokens), thinking=False)
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as team:
        written = sum(team.map(one, range(count)))
    return written / (time.perf_counter() - began)


@contextmanager
def running_server(words: list[str], most: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port and the process of `perilune serve WORDS`, whose state goes with it; `most` requests at a time."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "perilune", "serve", *words]
        process = subprocess.Popen(
            [*command, "--port", "0", "--state", state, "--most", str(most)], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"served at http://127\.0\.0\.1:(\d+)/", line):
                    yield int(found.group(1)), process
                    break
            else:
                raise RequestError("the server did not start")
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()


async def _load(port: int, count: int, tokens: int, who: str) -> tuple[list[Heard], float]:
    async def one(client: int) -> list[Heard]:
        return [await _ask(port, _asked(f"{who} {client}, {i}", tokens)) for i in range(ROUNDS)]

    began = time.perf_counter()
    heard = await asyncio.gather(*(one(client) for client in range(count)))
    return [reply for each in heard for reply in each], time.perf_counter() - began


def _row(count: int, tokens: int, alone: float, heard: list[Heard], seconds: float) -> ServeRow:
    good = [reply for reply in heard if reply.status == 200]
    firsts = sorted(reply.first for reply in good)
    lasts = [reply.seconds for reply in heard[ROUNDS - 1 :: ROUNDS] if reply.status == 200]
    return ServeRow(
        count,
        len(good) * tokens / seconds,
        alone,
        statistics.median(firsts),
        firsts[int(0.95 * (len(firsts) - 1))],
        max(lasts) / min(lasts),
        len(heard) - len(good),
    )


async def _ask(port: int, fields: dict[str, Any], most_events: int = 1 << 30) -> Heard:
    """One streamed request on a connection of its own, hung up after `most_events` events with text."""
    body = json.dumps({**fields, "stream": True, "thinking": {"type": "disabled"}}).encode()
    head = "\r\n".join((*HEAD, f"content-length: {len(body)}", "", ""))
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + body)
        status = int((await reader.readline()).split()[1])
        first, events = 0.0, 0
        while status == 200 and events < most_events and (line := await reader.readline()):
            if TOLD.search(line):
                first = first or time.perf_counter() - began
                events += 1
        return Heard(status, first, time.perf_counter() - began, events)
    finally:
        writer.close()


async def _soak(port: int, process: subprocess.Popen[str], count: int, seconds: float) -> Soak:
    began = time.perf_counter()
    tally = {"replies": 0, "hung_up": 0, "refused": 0, "failed": 0}
    turns = [0] * count
    warm = 0.0

    async def one(client: int) -> None:
        rng = random.Random(client)
        while time.perf_counter() - began < seconds:
            tokens, leaves = rng.randint(*SOAK_TOKENS), rng.random() < HANG_UP
            fields = _asked(f"{client}: {rng.random()}" + " and so on" * rng.randint(0, 100), tokens)
            try:
                heard = await _ask(port, fields, rng.randint(1, tokens) if leaves else 1 << 30)
            except (OSError, IndexError):
                tally["failed"] += 1
                continue
            if heard.status == 429:
                await asyncio.sleep(RETRY_SECONDS)
            turns[client] += heard.status == 200
            kind = {200: "hung_up" if leaves else "replies", 429: "refused"}.get(heard.status, "failed")
            tally[kind] += 1

    async def watch() -> None:
        nonlocal warm
        await asyncio.sleep(WARM_SHARE * seconds)
        warm = resident(process.pid)

    await asyncio.gather(watch(), *(one(client) for client in range(count)))
    spread = max(turns) / max(1, min(turns))
    return Soak(count, seconds, **tally, memory_warm=warm, memory_end=resident(process.pid), spread=spread)


def resident(pid: int) -> float:
    """Bytes of a process's memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024.0 * int(found.group(1)) if found else 0.0
