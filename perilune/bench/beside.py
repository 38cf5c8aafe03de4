"""Several ways to do one thing, timed in turn: a noisy moment of the machine meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

Pass = Callable[[], object]


def side_by_side(passes: Mapping[str, Pass], repeats: int, pause: float) -> dict[str, list[float]]:
    """Seconds of each run, after a warm-up: each repeat takes every pass once. In `pause` seconds before each run the
    threads of the last one come to rest."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for run in passes.values():
        run()
    for _ in range(repeats):
        for name, run in passes.items():
            time.sleep(pause)
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds
