"""Replicas as Ray actors, on the machines of a Ray cluster, or on this one.

A placement group sets aside the cores of every replica. The actors ask for none of their own, so that the next replica
finds its place beside the one that it replaces. Ray starts them and says when one has died; requests go past it, over
HTTP. A cluster that is started here listens on this machine only, and asks for a token that nobody else has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from perilune.errors import PeriluneError, RequestError

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: the cluster to use
NEEDED = ("ray", "httpx")
STORE_BYTES = 80 << 20  # the least that Ray takes; nothing is put there
ROOM_SECONDS = 60.0  # for the cluster to set the cores aside
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """How a replica opens and serves its model; `load` are options of perilune.load. Paths are those of its machine."""

    model: str
    name: str
    key: str
    most: int
    load: dict[str, Any]


class Server:
    """The actor: a model behind the ordinary server, on a port that is free."""

    def open(self, settings: Settings, host: str | None) -> str:
        """The server's address, once it answers. `host` is where it listens; None: at its machine's own address."""
        from ray.util import get_node_ip_address

        from perilune.api import load
        from perilune.server.app import make_app, serve

        at = host or get_node_ip_address()
        model = load(settings.model, **settings.load)
        app = make_app(model, settings.name, keys=(settings.key,), most=settings.most, fronted=True)
        ports: list[int] = []
        ready = threading.Event()

        def on_ready(port: int) -> None:
            ports.append(port)
            ready.set()

        def run() -> None:
            try:
                serve(app, at, 0, on_ready)
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="server")
        self._thread.start()
        ready.wait()
        if not ports:
            raise RequestError(f"a replica cannot listen at {at}")
        return f"http://{f'[{at}]' if ':' in at else at}:{ports[0]}"

    def live(self) -> None:
        """Ends with the server."""
        self._thread.join()


class ActorProcess:
    """A replica's process, as the fleet sees it."""

    def __init__(self, actor: Any, url: str):
        self.url = url
        self._actor, self._life = actor, actor.live.remote()

    async def ended(self) -> str:
        from ray.exceptions import RayError

        try:
            await self._life
        except RayError as error:
            return str(error).strip().splitlines()[-1][:200]
        return "its server has ended"

    async def stop(self) -> None:
        import ray

        ray.kill(self._actor)


class Cluster:
    """Places for so many replicas."""

    def __init__(self, group: Any, count: int, host: str | None):
        self.count = count
        self._group, self._host = group, host

    async def start(self, settings: Settings, place: int) -> ActorProcess:
        """Raises RequestError with what the replica says where it cannot start."""
        import ray
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        at = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=place)
        actor: Any = ray.remote(Server).options(num_cpus=0, max_restarts=0, scheduling_strategy=at).remote()
        try:
            return ActorProcess(actor, await actor.open.remote(settings, self._host))
        except RayError as error:
            ray.kill(actor)
            cause = getattr(error, "cause", None)
            told = str(cause) if isinstance(cause, PeriluneError) else str(error).strip().splitlines()[-1]
            raise RequestError(f"a replica did not start: {told}") from None


def threads_each(cores: Sequence[int], replicas: int) -> int:
    """The most threads that each of the replicas can have on machines with so many cores; 0: there is no room."""
    most = max(cores, default=0)
    return next((each for each in range(most, 0, -1) if sum(own // each for own in cores) >= replicas), 0)


@contextmanager
def cluster(replicas: int, threads: int | None) -> Iterator[tuple[Cluster, int]]:
    """Places for replicas, and the threads that each may use: `threads`, or its share of the cores. Afterwards all of
    them are gone, and so is a cluster that was started here."""
    if not all(find_spec(name) for name in NEEDED):
        raise RequestError("--ray needs Ray: pip install 'perilune[ray]'")
    address = os.environ.get(ADDRESS)
    if not address:
        threads = _threads([os.cpu_count() or 1], replicas, threads)
        os.environ.update(_closed_off())  # Ray reads them when it is imported
    import ray
    from ray.util.placement_group import placement_group

    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        given |= {"num_cpus": os.cpu_count(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address or "local", **given)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RequestError(f"Ray cannot be used: {str(error)[:300]}") from None
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # through what follows; Ray's own tells a fault
    try:
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        each = _threads(cores, replicas, threads)
        group = placement_group([{"CPU": each}] * replicas, strategy="SPREAD")
        if not group.wait(ROOM_SECONDS):
            raise RequestError(f"others use the cores of this cluster: {replicas} times {each} are not free now")
        yield Cluster(group, replicas, None if address else LOOPBACK), each
    finally:
        ray.shutdown()


def _threads(cores: Sequence[int], replicas: int, wanted: int | None) -> int:
    """As many as are wanted, or as there can be; raises RequestError where there is no room for them."""
    each = wanted or max(1, threads_each(cores, replicas))
    if sum(own // each for own in cores) < replicas:
        told = ", ".join(map(str, cores))
        raise RequestError(f"there is no room for {replicas} replicas of {each} threads; cores of each machine: {told}")
    return each


def _closed_off() -> dict[str, str]:
    """Ray's variables for a cluster on this machine alone. Its processes run whatever they are sent, so nobody else may
    speak to them."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: its processes listen on this machine only
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # else whatever runs beside a server takes its cores
    }


def start_all(places: Cluster, settings: Settings) -> list[ActorProcess]:
    """The first replicas, started at the same time."""

    async def all_of_them() -> list[ActorProcess]:
        return await asyncio.gather(*(places.start(settings, place) for place in range(places.count)))

    return asyncio.run(all_of_them())
