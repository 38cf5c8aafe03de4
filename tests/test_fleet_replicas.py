"""A fleet: replicas that die are started again, those that hang too, and all are replaced without a gap."""

import asyncio
import contextlib

import pytest
from fleet_local import LocalFleet
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from perilune.errors import RequestError
from perilune.fleet import replicas
from perilune.fleet.routing import PrefixRouter
from perilune.fleet.sending import NoReplicaError, Sender, whole_events


class App(Starlette):
    """Answers at /, and at /slow once it is let go."""

    def __init__(self):
        self.slow, self.hangs = asyncio.Event(), False
        self.asked = 0
        super().__init__(routes=[Route("/", self.hello), Route("/slow", self.wait), Route("/health", self.health)])

    async def hello(self, request):
        return PlainTextResponse("hello")

    async def wait(self, request):
        self.asked += 1
        await self.slow.wait()
        return PlainTextResponse("at last")

    async def health(self, request):
        if self.hangs:
            await asyncio.sleep(3600)
        return PlainTextResponse("ok")


@contextlib.asynccontextmanager
async def opened(count=2):
    local = LocalFleet(App, count)
    local.fleet.open()
    try:
        yield local, local.fleet, Sender(local.fleet, PrefixRouter())
    finally:
        await local.fleet.close()


async def until(true, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(replicas, "FIRST_DELAY", 0.01)


async def say(sender, path="/"):
    sent = await sender.send("GET", path)
    await sent.aclose()
    return sent


def test_who_dies_is_started_again_under_another_name():
    async def run():
        async with opened() as (local, fleet, sender):
            before = fleet.ready()
            assert list(before) == ["0.0", "1.1"]
            local.made[0].die()
            await until(lambda: fleet.restarts == 1 and len(fleet.ready()) == 2)
            after = fleet.ready()
            assert "0.0" not in after and after["1.1"] is before["1.1"] and "0.2" in after
            assert {(await say(sender)).replica for _ in range(4)} == {"0.2", "1.1"}

    asyncio.run(run())


def test_a_request_goes_to_another_replica_when_its_own_dies():
    async def run():
        async with opened() as (local, fleet, sender):
            asking = asyncio.create_task(say(sender, "/slow"))
            await until(lambda: local.made[0].app.asked + local.made[1].app.asked == 1)
            first, other = sorted(local.made, key=lambda one: -one.app.asked)
            assert sum(one.open for one in fleet.ready().values()) == 1
            first.die()
            await until(lambda: other.app.asked == 1)
            other._loop.call_soon_threadsafe(other.app.slow.set)
            sent = await asking
            assert (sent.status, sent.whole) == (200, b"at last") and fleet.ready()[sent.replica].process is other
            assert sender.retried == 1 and all(one.open == 0 for one in fleet.ready().values())

    asyncio.run(run())


def test_who_hangs_is_given_up_and_its_requests_go_elsewhere(monkeypatch):
    monkeypatch.setattr(replicas, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(replicas, "ASK_SECONDS", 0.05)

    async def run():
        async with opened() as (local, fleet, sender):
            asking = asyncio.create_task(say(sender, "/slow"))
            await until(lambda: local.made[0].app.asked + local.made[1].app.asked == 1)
            hung, other = sorted(local.made, key=lambda one: -one.app.asked)
            hung.app.hangs = True
            await until(lambda: other.app.asked == 1)
            other._loop.call_soon_threadsafe(other.app.slow.set)
            assert (await asking).whole == b"at last"
            await until(lambda: len(fleet.ready()) == 2)
            assert hung not in [one.process for one in fleet.ready().values()]

    asyncio.run(run())


def test_with_nobody_left_it_is_said_and_the_next_one_answers():
    async def run():
        async with opened(1) as (local, fleet, sender):
            start, fleet._start = fleet._start, None
            gate = asyncio.Event()

            async def late(place):
                await gate.wait()
                return await start(place)

            fleet._start = late
            local.made[0].die()
            await until(lambda: not fleet.ready())
            with pytest.raises(NoReplicaError, match="no replica is ready"):
                await say(sender)
            gate.set()
            await until(fleet.ready)
            assert (await say(sender)).whole == b"hello"

    asyncio.run(run())


def test_a_start_that_fails_is_tried_again():
    async def run():
        async with opened(1) as (local, fleet, _):
            start, tries = fleet._start, []

            async def third(place):
                tries.append(place)
                if len(tries) < 3:
                    raise RequestError("no room")
                return await start(place)

            fleet._start = third
            local.made[0].die()
            await until(lambda: len(tries) == 3 and fleet.ready())

    asyncio.run(run())


def test_all_are_replaced_one_by_one_and_what_was_begun_is_ended():
    async def run():
        async with opened() as (local, fleet, sender):
            asking = asyncio.create_task(say(sender, "/slow"))
            await until(lambda: local.made[0].app.asked + local.made[1].app.asked == 1)
            (busy,) = [one for one in local.made if one.app.asked]
            old, fewest = set(fleet.ready()), []
            replacing = asyncio.create_task(fleet.replace())
            await until(lambda: len(local.made) == (4 if busy is local.made[1] else 3))
            while not replacing.done():
                fewest.append(len(fleet.ready()))
                await say(sender)
                if len(fewest) == 20:  # it waits for the one request that is still open
                    assert not asking.done() and busy._thread.is_alive()
                    busy._loop.call_soon_threadsafe(busy.app.slow.set)
                await asyncio.sleep(0.01)
            assert (await asking).whole == b"at last" and min(fewest) == 2
            assert not old & set(fleet.ready()) and fleet.restarts == 0
            await until(lambda: not local.made[0]._thread.is_alive() and not local.made[1]._thread.is_alive())

    asyncio.run(run())


def test_old_ones_stay_where_new_ones_do_not_start():
    async def run():
        async with opened() as (_, fleet, sender):
            before = fleet.ready()

            async def none(place):
                raise RequestError("the new version is broken")

            fleet._start = none
            await fleet.replace()
            assert fleet.ready() == before and (await say(sender)).whole == b"hello"

    asyncio.run(run())


def test_closing_leaves_nothing_running():
    async def run():
        async with opened() as (local, _, _):
            return local

    local = asyncio.run(run())
    for replica in local.made:
        replica._thread.join(20)
        assert not replica._thread.is_alive()


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_events_come_whole_however_they_are_cut(size):
    raw = b"data: a\n\n: waiting\n\nevent: x\ndata: b\n\ndata: cut o"

    async def parts():
        for at in range(0, len(raw), size):
            yield raw[at : at + size]

    async def run():
        return [one async for one in whole_events(parts())]

    assert asyncio.run(run()) == [b"data: a\n\n", b": waiting\n\n", b"event: x\ndata: b\n\n"]
