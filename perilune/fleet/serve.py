"""`perilune serve --ray N`: starts replicas, and runs the front until it is told to stop."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from perilune.api.budget import memory_budget, split_memory
from perilune.api.free_memory import available_memory, own_memory
from perilune.api.locate import find_model
from perilune.api.openai import MOST_CHOICES
from perilune.config import ModelConfig
from perilune.errors import RequestError, WeightsError
from perilune.fleet.front import make_front
from perilune.fleet.ray_processes import ADDRESS, Settings, cluster, start_all
from perilune.fleet.replicas import Fleet
from perilune.server.app import serve
from perilune.server.batches import TOGETHER
from perilune.weights.files import open_checkpoint


def serve_fleet(
    count: int,
    model: str,
    name: str,
    load: dict[str, Any],
    host: str,
    port: int,
    *,
    most: int,
    on_ready: Callable[[int], None],
    **options: Any,
) -> None:
    """`count` replicas of the model behind one address; `load` are options of perilune.load, its `ram` for all of them
    together; `options` are those of make_front."""
    directory = find_model(model)
    if load.get("ram") is not None:
        load = load | {"ram": share_of(load["ram"], count, directory, load)}
    # A replica takes whatever the front lets in, and a batch beside it.
    room = most + TOGETHER * MOST_CHOICES
    with cluster(count, load.get("threads")) as (places, threads):
        settings = Settings(str(directory.absolute()), name, secrets.token_hex(32), room, load | {"threads": threads})
        first = start_all(places, settings)
        fleet = Fleet(first, partial(places.start, settings), settings.key)
        serve(make_front(fleet, name, most=most, **options), host, port, on_ready)


def share_of(ram: int | str, count: int, directory: Path, load: dict[str, Any]) -> int:
    """Bytes for each replica: one more than `count` of them run while they are replaced. Raises where the model cannot
    run in so few, or this machine has not so many."""
    here = not os.environ.get(ADDRESS)
    if ram == "auto" and not here:
        raise RequestError('--ram "auto" is about this machine; give an amount for all replicas of the cluster')
    budget = memory_budget(ram)
    if here and budget > (free := available_memory() + own_memory()):
        raise RequestError(f"--ram is {budget / 2**30:.2f} GiB, and this machine has {free / 2**30:.2f} GiB free")
    share = budget // (count + 1)
    told = {name: load[name] for name in ("context", "backbone", "text_only") if name in load}
    try:
        split_memory(open_checkpoint(directory), ModelConfig.load(directory), share, **told)
    except WeightsError as error:
        why = f"--ram is for {count} replicas, and one more while they are replaced"
        raise WeightsError(f"{why}; for each of them {error}") from None
    return share
