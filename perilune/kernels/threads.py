"""How many threads the kernels use, and how they share work inside one parallel region.

A region is a list of phases; a phase is a list of chunks. Threads claim chunks one by one, and wait until all chunks
of a phase are done before the next phase. A thread that comes late finds the work taken and moves on, so one thread
alone finishes everything and no start order can block. Which thread computes a chunk never changes a number.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

from perilune.kernels.jit import kernel, numba_config
from perilune.kernels.simd import fetch_add, load_acquire, raise_to, relax, yield_core

# "Claimed" and "done" lie in different cache lines, so that waiting threads do not disturb claims.
_LINE = 64
_SPINS_BEFORE_YIELD = 2000
# Work of fewer multiplications is done by the caller alone: waking a thread costs as much, and on a busy machine the
# other one may have to wait for its turn on a core.
FEW_PRODUCTS = 1 << 21

if not os.environ.get("NUMBA_THREADING_LAYER_PRIORITY"):
    numba_config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]

_region = threading.RLock()
_count = 0


def max_threads() -> int:
    """The most threads a region can use."""
    return int(numba_config.NUMBA_NUM_THREADS)


def set_threads(count: int | None) -> int:
    """Use `count` threads (None: every core); more than the machine has is cut down. Returns the count in use."""
    global _count
    if count is not None and count < 1:
        raise ValueError(f"threads must be 1 or more, got {count}")
    _count = max_threads() if count is None else min(count, max_threads())
    return _count


def get_threads() -> int:
    """The number of threads that kernels use now."""
    return _count or set_threads(None)


@contextmanager
def region() -> Iterator[int]:
    """Hold the one parallel region of this process; yields the thread count.

    Numba's fallback thread pool ends the process when two Python threads enter it at once, hence the lock.
    """
    with _region:
        count = get_threads()
        if numba.get_num_threads() != count:
            numba.set_num_threads(count)
        yield count


def sync_words(phases: int) -> np.ndarray:
    """The counters of a region of `phases` phases, before its start: one line of progress, then two lines a phase."""
    return np.zeros((1 + 2 * phases) * _LINE // 8, np.int64)


@kernel
def claim(sync: int, phase: int) -> int:
    """The number of the next chunk of a phase; at or past the phase's count when none is left."""
    return fetch_add(sync + (1 + 2 * phase) * _LINE, 1)


@kernel
def finish(sync: int, phase: int, done: int, total: int) -> None:
    """Report `done` chunks and wait until all `total` chunks of the phase are done."""
    address = sync + (2 + 2 * phase) * _LINE
    if done > 0:
        fetch_add(address, done)
    spins = 0
    while load_acquire(address) < total:
        relax()
        spins += 1
        if spins >= _SPINS_BEFORE_YIELD:
            yield_core()
    raise_to(sync, phase + 1)


@kernel
def passed(sync: int, phase: int) -> bool:
    """Whether a phase is over: what a late thread read for it may have been overwritten meanwhile."""
    return load_acquire(sync) > phase
