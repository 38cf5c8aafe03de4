"""What a step learns from, made ahead of it by other processes, and where it is computed.

Which rows a step takes is a pure function of the step, so whoever makes them changes nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Made = TypeVar("Made")
AHEAD = 3  # steps that each process is ahead


class _Steps(Dataset):
    """The batch of every step, by its number."""

    def __init__(self, make: Callable[[int], Any]):
        self.make = make

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def batches(make: Callable[[int], Made], first: int, steps: int, workers: int) -> Iterator[Made]:
    """`make(step)` for all steps from `first` on, in order; without workers each is made when it is asked for."""
    if not workers:
        return (make(step) for step in range(first, steps))
    order = range(first, steps)
    options = {"num_workers": workers, "prefetch_factor": AHEAD, "collate_fn": _as_it_is, "worker_init_fn": _deaf}
    return iter(DataLoader(_Steps(make), batch_size=None, sampler=order, **options))


def _deaf(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal, but only the run's own may end: it saves first, and ends these."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(made: Any) -> Any:
    return made


def moved(made: Any, device: torch.device) -> Any:
    """The same with all tensors of all dataclasses and tuples in it on a device."""
    if isinstance(made, Tensor):
        return made.to(device)
    if isinstance(made, tuple):
        return tuple(moved(part, device) for part in made)
    if is_dataclass(made) and not isinstance(made, type):
        return replace(made, **{f.name: moved(getattr(made, f.name), device) for f in fields(made)})
    return made
