"""One request to one of the replicas, and to another one if that dies before it has answered.

A request changes nothing in a replica, so sending it again is safe until its client has heard the first byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perilune.errors import PeriluneError
from perilune.fleet.replicas import Fleet, Replica
from perilune.fleet.routing import Asked, PrefixRouter
from perilune.server.guard import OWNER_HEADER

if TYPE_CHECKING:
    import httpx

REPLICA_HEADER = "x-perilune-replica"
PASSED = ("content-type", "cache-control", "x-accel-buffering", "retry-after")  # headers of an answer
MOST_LOST = 2  # what kills its replica kills no third one
NOBODY = Asked()


class NoReplicaError(PeriluneError):
    """No replica has taken the request."""


class LostError(NoReplicaError):
    """A replica died with the request."""


@dataclass
class Sent:
    """An answer: whole, or `events` that are still to come. Must be closed."""

    replica: str
    status: int
    headers: dict[str, str]
    whole: bytes = b""
    events: AsyncIterator[bytes] | None = None
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def aclose(self) -> None:
        """Hangs up, and does whatever else was put on `closing`."""
        await self.closing.aclose()


class Sender:
    """Sends requests to the replica that the router chooses."""

    def __init__(self, fleet: Fleet, router: PrefixRouter):
        self.fleet, self.router = fleet, router
        self.retried = 0

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        kind: str = "application/json",
        asked: Asked = NOBODY,
        owner: str = "",
    ) -> Sent:
        """`kind` is what the body says it is, `owner` for whom it is sent. Returns once there is a whole answer, or a
        first event. Raises NoReplicaError, LostError where it was a replica's end."""
        failed: NoReplicaError = NoReplicaError("no replica is ready; send this request again later")
        tried: set[str] = set()
        lost = 0
        while lost < MOST_LOST and (ready := self.fleet.ready(tried)):
            replica = ready[self.router.choose(asked, {name: one.open for name, one in ready.items()})]
            try:
                request = replica.client.build_request(
                    method, path, content=body, headers={"content-type": kind, OWNER_HEADER: owner}
                )
                return await _sent(replica, request)
            except NoReplicaError as error:
                failed, lost = error, lost + isinstance(error, LostError)
                tried.add(replica.name)
                self.retried += 1
        raise failed


async def _sent(replica: Replica, request: httpx.Request) -> Sent:
    import httpx

    async with AsyncExitStack() as opened:
        replica.open += 1
        opened.callback(_left, replica)
        try:
            response = await replica.client.send(request, stream=True)
            opened.push_async_callback(response.aclose)
            headers = {name: response.headers[name] for name in PASSED if name in response.headers}
            sent = Sent(replica.name, response.status_code, {**headers, REPLICA_HEADER: replica.name})
            if headers.get("content-type", "").startswith("text/event-stream"):
                events = whole_events(response.aiter_raw())
                sent.events = _with_first(await anext(events), events)
            else:
                sent.whole = await response.aread()
        except httpx.ConnectError:
            raise NoReplicaError("a replica cannot be reached; send this request again later") from None
        except (httpx.HTTPError, StopAsyncIteration) as error:
            told = f"the replica that had this request was lost ({type(error).__name__}); send it again later"
            raise LostError(told) from None
        sent.closing = opened.pop_all()
        return sent


def _left(replica: Replica) -> None:
    replica.open -= 1


async def whole_events(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Server-sent events one by one, as soon as each is whole: what a dead replica leaves behind is no half event."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n\n")
        for one in whole:
            yield one + b"\n\n"


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    import httpx

    yield first
    try:
        async for one in rest:
            yield one
    except httpx.HTTPError as error:
        raise LostError(f"the replica that wrote this reply was lost ({type(error).__name__})") from None
