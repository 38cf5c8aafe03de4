"""Replicas in threads of the test's own process, which die as processes do: every connection breaks off."""

import asyncio
import threading

import uvicorn
from served import until

from perilune.fleet.replicas import Fleet

KEY = "key-of-the-replicas"


class LocalReplica:
    """A server in a thread, as the fleet sees a process."""

    def __init__(self, app):
        self.app = app
        app.state.replica = self
        self._server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="error", lifespan="on"))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self._server.started or not self._thread.is_alive())
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def _run(self):
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve())

    def die(self):
        """Breaks off whatever it does, and answers no more."""

        def cut():
            self._server.should_exit = self._server.force_exit = True
            for server in self._server.servers:
                server.close()
            for connection in tuple(self._server.server_state.connections):
                connection.transport.abort()

        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(cut)

    async def ended(self):
        while self._thread.is_alive():
            await asyncio.sleep(0.01)
        return "its thread has ended"

    async def stop(self):
        self.die()
        await self.ended()


class LocalFleet:
    """A fleet whose replicas run the apps that `make` makes; `made` are all replicas that were ever started."""

    def __init__(self, make, count=2):
        self.make, self.made = make, []
        self.fleet = Fleet([self._replica() for _ in range(count)], self._start, KEY)

    def _replica(self):
        self.made.append(LocalReplica(self.make()))
        return self.made[-1]

    async def _start(self, place):
        return await asyncio.to_thread(self._replica)

    def of(self, name):
        """The replica that has a name now."""
        return self.fleet.ready()[name].process
