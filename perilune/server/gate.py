"""What a client's message may name: files that its own key has put here, and hosts that were allowed. No path, ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from perilune.errors import MediaError
from perilune.fields import show_value
from perilune.media.fetch import Remote
from perilune.media.parts import (
    KEPT,
    MAX_FETCH_SECONDS,
    MAX_FETCHED_BYTES,
    MAX_FETCHED_TOTAL,
    MAX_ITEM_BYTES,
    Fetch,
)
from perilune.media.source import Source
from perilune.server.kept import Kept

GateOf = Callable[[str], Fetch]  # the owner of a request → its gate


def gates(kept: Kept | None, remote: Remote | None) -> GateOf:
    """A new gate for every request of an owner."""
    return lambda owner: Gate(kept, remote, owner)


class Gate:
    """The gate of one request. An address is asked once, however many answers are wanted; so is one that fails."""

    def __init__(self, kept: Kept | None, remote: Remote | None, owner: str):
        self._kept, self._remote, self._owner = kept, remote, owner
        self._lock = threading.Lock()
        self._bytes, self._seconds = MAX_FETCHED_TOTAL, MAX_FETCH_SECONDS  # that are left
        self._fetched: dict[tuple[str, str], bytes | MediaError] = {}

    def __call__(self, kind: str, place: str) -> Source:
        if place.startswith(KEPT):
            return self._file(kind, place.removeprefix(KEPT))
        if not place.lower().startswith(("http://", "https://")):
            raise MediaError("send a data URL, the id of a file (ms://ID) or an https:// address; paths are not read")
        if self._remote is None:
            raise MediaError("this server fetches nothing from addresses; send a data URL or the id of a file")
        with self._lock:
            if (kind, place) not in self._fetched:
                self._fetched[kind, place] = self._get(self._remote, kind, place)
            found = self._fetched[kind, place]
        if isinstance(found, MediaError):
            raise found
        return found

    def _get(self, remote: Remote, kind: str, place: str) -> bytes | MediaError:
        began = time.monotonic()
        try:
            data = remote.get(place, kind, min(MAX_FETCHED_BYTES[kind], self._bytes), self._seconds)
        except MediaError as error:
            return error
        finally:
            self._seconds = max(0.0, self._seconds - (time.monotonic() - began))
        self._bytes -= len(data)
        return data

    def _file(self, kind: str, name: str) -> Path:
        found = self._kept.get("file", self._owner, name) if self._kept else None
        if self._kept is None or found is None:
            raise MediaError(f"no file is called {show_value(name)} here")
        most = MAX_ITEM_BYTES.get(kind, max(MAX_ITEM_BYTES.values()))
        if found["bytes"] > most:
            raise MediaError(f"the file has {found['bytes']:,} bytes; at most {most:,} are read of {kind}s")
        return self._kept.path(found["id"])
