"""A machine's rates, kept for a week in the user's cache: measuring them reads as much as a first token needs.

What is kept belongs to the disk of a folder, the processor and the number of threads. Anything else in its place is
measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from perilune.engine.store_folder import user_folder
from perilune.errors import PeriluneError
from perilune.kernels.threads import get_threads
from perilune.plan.machine import Machine, measure_machine

FORMAT = 1
KEPT_SECONDS = 7 * 24 * 3600
MAX_BYTES = 4096
_RATES = tuple(field.name for field in fields(Machine) if field.type == "float" and field.name != "gpu_rate")


def known_machine(folder: Path, ram: int) -> Machine:
    """This machine with `ram` bytes to use, as measured within the last week, or measured now in a few seconds."""
    path = _path(folder)
    kept = None if path is None else _read(path)
    if kept is not None:
        return replace(kept, ram=ram)
    machine = measure_machine(folder, ram=ram, repeats=1)
    if path is not None:
        _write(path, machine)
    return machine


def _path(folder: Path) -> Path | None:
    """None where nothing can be kept."""
    who = (os.stat(folder).st_dev, platform.node(), platform.machine(), os.cpu_count(), get_threads(), FORMAT)
    digest = hashlib.sha256(repr(who).encode()).hexdigest()[:16]
    try:
        return user_folder("XDG_CACHE_HOME", ".cache", "XDG_CACHE_HOME") / f"machine-{digest}.json"
    except PeriluneError:
        return None


def _read(path: Path) -> Machine | None:
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(MAX_BYTES))
        machine, age = Machine(**record["machine"]), time.time() - record["time"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return machine if 0 <= age < KEPT_SECONDS and _sound(machine) else None


def _sound(machine: Machine) -> bool:
    rates: list[Any] = [getattr(machine, name) for name in _RATES]
    return machine.disks == 1 and all(isinstance(rate, float) and 0 < rate < 1e18 for rate in rates)


def _write(path: Path, machine: Machine) -> None:
    """Beside its place and then into it: two programs may start at once. A cache that cannot be written is none."""
    record = json.dumps({"time": time.time(), "machine": asdict(machine)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".machine-", delete=False) as file:
            file.write(record)
        os.replace(file.name, path)
    except OSError:
        return
