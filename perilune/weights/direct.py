"""Reading parts of files past the page cache, many at a time: what is read once must not push out what is always used.

Direct reads need offsets, lengths and memory in whole blocks; where a file system refuses them, ordinary reads take
their place and the pages are given back. Readers are threads: urgent reads come first, and a read that nobody has
begun can still be called off.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from perilune.errors import WeightsError
from perilune.fields import show_value
from perilune.weights.header import Identity, identify

BLOCK = 4096
MAX_READERS = 64


class DirectFile:
    """One file, open for reads of whole blocks; every read checks that the file is still the one that was checked."""

    def __init__(self, path: Path, identity: Identity, direct: bool = True):
        self.path, self.identity = path, identity
        flags = os.O_RDONLY | os.O_CLOEXEC
        self.direct = direct and hasattr(os, "O_DIRECT")
        try:
            try:
                self.descriptor = os.open(path, flags | os.O_DIRECT if self.direct else flags)
            except OSError:
                self.direct = False
                self.descriptor = os.open(path, flags)
        except OSError as error:
            raise WeightsError(f"{path.name} cannot be opened: {show_value(str(error))}") from error
        try:
            self._check()
        except WeightsError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.descriptor)

    def _check(self) -> None:
        if identify(os.fstat(self.descriptor)) != self.identity:
            raise WeightsError(f"{self.path.name} changed while it was in use; open the model again")

    def read(self, begin: int, into: memoryview) -> None:
        """Fills `into` with the bytes from `begin` on; both are whole blocks, and the last may reach past the end."""
        wanted, done = min(len(into), self.identity.size - begin), 0
        while done < wanted:
            try:
                count = os.preadv(self.descriptor, [into[done:]], begin + done)
            except OSError as error:
                raise WeightsError(f"{self.path.name} cannot be read at byte {begin + done}: {error}") from error
            if count == 0:
                raise WeightsError(f"{self.path.name} ends at byte {begin + done}; it was longer when it was opened")
            done += count
        self._check()
        if not self.direct:
            with contextlib.suppress(OSError):
                os.posix_fadvise(self.descriptor, begin, wanted, os.POSIX_FADV_DONTNEED)


class Readers:
    """Threads that run what they are given, urgent work first."""

    def __init__(self, count: int):
        if not 1 <= count <= MAX_READERS:
            raise ValueError(f"there can be 1 to {MAX_READERS} readers, not {count}")
        self._work: queue.PriorityQueue[tuple[int, int, Callable[[], None], Future[None]]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._threads = [threading.Thread(target=self._run, name=f"read-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], None], urgent: bool = True) -> Future[None]:
        future: Future[None] = Future()
        self._work.put((0 if urgent else 1, next(self._order), work, future))
        return future

    def close(self) -> None:
        """Waits until every thread has done what was asked of it, and ended."""
        for _ in self._threads:
            self._work.put((2, next(self._order), _stop, Future()))
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            _, _, work, future = self._work.get()
            if work is _stop:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:  # whoever waits for the read gets it
                future.set_exception(error)
            else:
                future.set_result(None)


def _stop() -> None:
    """A mark in the queue: the thread that takes it ends."""
