"""What a model with a chunk memory has read of users' files: read once, kept on disk, asked from then on.

Each owner behind a key has a prefix store of their own: how fast a file is read would tell whether others have it. One
text is read at a time, since reading takes all processors.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perilune.api.documents import DocumentReading, OnDocuments, read_documents, segmented, store_keys
from perilune.api.model import Model
from perilune.api.reading import Passage
from perilune.app.kept_files import KeptFiles
from perilune.documents.names import clean_name
from perilune.documents.source import Source, Stamp
from perilune.engine.store import NodeKey, PrefixStore
from perilune.errors import DocumentError, PeriluneError

MOST_KEYS = 256  # files whose keys in the store are remembered
MOST_READINGS = 4  # that are held in memory, and
MOST_PAGES_BYTES = 4 << 30  # of them together, but for the newest
MOST_STORE_BYTES = 8 << 30  # of one owner
WAIT_SECONDS = 0.2  # between looks at whether a reader is still wanted
QUOTE_CHARACTERS = 600

Row = dict[str, Any]


class Unwanted(Exception):
    """Nobody waits for the reading any more."""


@dataclass(frozen=True)
class Opened:
    """A reading, and the file of every name in it; `known` tokens were read before."""

    reading: DocumentReading
    files: dict[str, str]
    known: int

    def place(self, passage: Passage) -> Row:
        """Where a passage stands; no file is read."""
        source, first, last = self.reading.places.lines(passage.piece, passage.start, passage.end)
        return {"file": self.files[source.name], "name": source.name, "lines": [max(1, first), max(1, last)]}

    def citation(self, passage: Passage) -> Row:
        """The same with what the lines say."""
        told = self.place(passage) | {"share": round(passage.share, 3)}
        try:
            return {**told, "quote": self.reading.place(passage).text[:QUOTE_CHARACTERS]}
        except DocumentError as error:  # the file was deleted meanwhile
            return {**told, "quote": "", "problem": str(error)}


class Documents:
    """Reads files for one model."""

    def __init__(self, model: Model, files: KeptFiles, folder: Path):
        self.model, self.files, self._folder = model, files, folder
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._held: OrderedDict[tuple[Any, ...], DocumentReading] = OrderedDict()
        self._keys: OrderedDict[tuple[Any, ...], list[NodeKey]] = OrderedDict()

    @property
    def reads(self) -> bool:
        """Whether the model has a chunk memory; without one, texts stand in the prompt."""
        return self.model.config.memory is not None and self.model.tokenizer is not None

    def store(self, owner: str) -> PrefixStore:
        """Without keys that of `perilune ask`: what was read there is known here."""
        return PrefixStore(self._folder / owner, MOST_STORE_BYTES) if owner else PrefixStore.default()

    def sources(self, names: Sequence[str]) -> tuple[list[Source], dict[str, str]]:
        """The texts of files, each under a name of its own, and which file each name belongs to."""
        sources, belongs = list[Source](), dict[str, str]()
        for file in names:
            for part in self.files.parts(file):
                name, count = clean_name(part["name"]), 1
                while name in belongs:
                    count += 1
                    name = clean_name(f"{part['name']} ({count})")
                belongs[name] = file
                sources.append(_source(name, self.files.path(part["hash"])))
        return sources, belongs

    def open(self, owner: str, names: Sequence[str], on_read: OnDocuments, wanted: Callable[[], bool]) -> Opened:
        """Raises Unwanted once `wanted()` is no more; what was read until then is kept."""
        sources, belongs = self.sources(names)
        key = (owner, *((source.name, source.path) for source in sources))
        known = 0

        def told(done: int, of_them: int, total: int) -> None:
            nonlocal known
            known = of_them
            on_read(done, of_them, total)
            if not wanted():
                raise Unwanted

        while not self._turn.acquire(timeout=WAIT_SECONDS):
            if not wanted():
                raise Unwanted
        try:
            with self._lock:
                reading = self._held.get(key)
            if reading is not None:
                told(reading.length, reading.length, reading.length)
            else:
                reading = read_documents(self.model, sources, store=self.store(owner), on_read=told)
            self._hold(key, reading)
        finally:
            self._turn.release()
        return Opened(reading, belongs, known)

    def count(self, name: str, path: Path) -> int:
        """How many tokens reading a text takes."""
        return sum(len(one) for one in segmented(self.model, [_source(name, path)]))

    def is_stored(self, owner: str, name: str) -> bool:
        """Whether all of a file has been read before. A file that does not fit has not."""
        if not self.reads or not self.files.parts(name):
            return False
        try:
            store = self.store(owner)
            keys = self._keys_of(owner, name, store)
        except (PeriluneError, OSError):
            return False
        return bool(keys) and all(key in store for key in keys)

    def _keys_of(self, owner: str, name: str, store: PrefixStore) -> list[NodeKey]:
        """Splitting a long file into tokens takes a second, so what it is kept under is remembered."""
        sources = self.sources([name])[0]
        of = (owner, *((source.name, source.path) for source in sources))
        with self._lock:
            keys = self._keys.get(of)
        if keys is None:
            keys = store_keys(self.model, segmented(self.model, sources), store)
        with self._lock:
            self._keys[of] = keys
            self._keys.move_to_end(of)
            while len(self._keys) > MOST_KEYS:
                self._keys.popitem(last=False)
        return keys

    def forget(self, owner: str, texts: Sequence[tuple[str, Path]]) -> None:
        """Names and places of texts that are about to be deleted: nothing that was read of them stays."""
        with self._lock:
            self._held = OrderedDict((key, held) for key, held in self._held.items() if key[0] != owner)
            self._keys = OrderedDict((of, keys) for of, keys in self._keys.items() if of[0] != owner)
        for name, path in texts if self.reads else ():
            try:
                store = self.store(owner)
                store.remove(store_keys(self.model, segmented(self.model, [_source(name, path)]), store))
            except (PeriluneError, OSError):  # too long to have been read, or gone already
                continue

    def _hold(self, key: tuple[Any, ...], reading: DocumentReading) -> None:
        with self._lock:
            self._held[key] = reading
            self._held.move_to_end(key)
            while len(self._held) > 1 and (len(self._held) > MOST_READINGS or self._bytes() > MOST_PAGES_BYTES):
                self._held.popitem(last=False)

    def _bytes(self) -> int:
        return sum(held.pages.latents_CSL.nbytes + held.pages.packed.nbytes for held in self._held.values())


def _source(name: str, path: Path) -> Source:
    return Source(clean_name(name), path, Stamp.of(path.stat()), encoding="utf-8")
