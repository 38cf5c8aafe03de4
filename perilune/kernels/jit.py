"""How a kernel is compiled: Numba, no GIL, and a disk cache keyed by the text of this room.

Numba's own cache looks only at the file of the function, so a change in `simd.py` would leave stale machine code
in its callers. Here the cache folder carries a digest of every source file of `kernels/`, so an edit is enough.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config as _numba_config

# Numba sets its settings as module attributes at run time, which type checkers cannot see.
numba_config: Any = _numba_config


def cache_folder() -> str:
    """The folder for machine code of exactly these sources; empty when nothing can be written."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "perilune" / "kernels" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


_FOLDER = cache_folder()


def kernel(function: Callable[..., Any]) -> Any:
    """A function for compiled code only: no Python entry, no cache of its own (its callers' machine code holds it)."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(nogil=True, error_model="numpy", **options)(function)


def fused(function: Callable[..., Any]) -> Any:
    """Like `kernel`, copied into its caller before compilation: for the upper levels of a deep call tree.

    Every level of calls compiles all that lies below it once more, so levels cost start-up time.
    """
    return numba.njit(nogil=True, error_model="numpy", inline="always")(function)


def entry(*, parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A function that Python calls, with its machine code on disk."""

    def compile_(function: Callable[..., Any]) -> Any:
        before = numba_config.CACHE_DIR
        numba_config.CACHE_DIR = _FOLDER or before
        try:
            return numba.njit(cache=bool(_FOLDER), nogil=True, error_model="numpy", parallel=parallel)(function)
        finally:
            numba_config.CACHE_DIR = before

    return compile_


@kernel
def address(array: Any) -> Any:
    """Where an array begins, as int64: the unsigned number Numba gives would compile every callee a second time."""
    return np.int64(array.ctypes.data)
