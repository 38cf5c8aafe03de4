"""The expert store: a cache of the routed experts that are used most, filled from the published shards.

An expert is read as it lies there (expert_layout.py) into one slot of a pool whose size is the budget; the one that is
worth least (worth.py) gives its slot away. Nothing here decides what is computed: for every size of the pool, with or
without reading ahead, the same bytes reach the kernels.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, fields, replace

import numpy as np

from perilune.config import ModelConfig
from perilune.errors import WeightsError
from perilune.weights.direct import DirectFile, Readers
from perilune.weights.expert_layout import Record, record_of, slot_bytes
from perilune.weights.files import Checkpoint
from perilune.weights.worth import FadingUses, Key

READERS = 6


@dataclass
class Slot:
    number: int
    loading: Future[None] | None = None
    users: int = 0
    ahead: bool = False  # read ahead, and not wanted so far


@dataclass
class StoreStats:
    """Counts since the store was opened; `waited` are seconds in which nothing could be computed."""

    hits: int = 0
    misses: int = 0
    ahead: int = 0  # read before they were wanted
    ahead_used: int = 0
    bytes_read: int = 0
    waited: float = 0.0

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    def copy(self) -> StoreStats:
        return replace(self)

    def since(self, before: StoreStats) -> StoreStats:
        return StoreStats(**{f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)})


class ExpertStore:
    """Experts of all layers of a checkpoint within `budget` bytes. Used by one thread at a time."""

    def __init__(self, checkpoint: Checkpoint, config: ModelConfig, budget: int):
        self.checkpoint, self.config = checkpoint, config
        self.slot_bytes = slot_bytes(checkpoint, config)
        layers = sum(config.is_moe_layer(i) for i in range(config.num_hidden_layers))
        self.experts = layers * config.n_routed_experts
        count = min(budget // self.slot_bytes, self.experts)
        if count < config.num_experts_per_tok:
            raise WeightsError(
                f"the expert cache must hold the {config.num_experts_per_tok} experts that a token uses in a layer, "
                f"{config.num_experts_per_tok * self.slot_bytes:,} bytes; the budget leaves {max(0, budget):,}"
            )
        self.slots = [Slot(i) for i in range(count)]
        self.stats = StoreStats()
        self._pool = mmap.mmap(-1, count * self.slot_bytes)
        self._view = memoryview(self._pool)
        self._address = np.frombuffer(self._pool, np.uint8).ctypes.data
        self._free = list(reversed(self.slots))
        self._held: dict[Key, Slot] = {}
        self._pinned = 0
        self._worth = FadingUses(layers)
        self._guessed: dict[int, list[Key]] = {}  # by layer, since it was passed last
        self._records: dict[Key, Record] = {}
        self._files: dict[tuple[str, int], DirectFile] = {}
        self._lock = threading.Lock()
        self._readers = Readers(min(READERS, count))

    def want(self, layer: int, experts: Sequence[int]) -> Wanted:
        """Starts to read what is missing of a layer's experts; see Wanted."""
        self._worth.next_layer()
        wanted = Wanted(self, layer, [int(e) for e in experts])
        for key in self._guessed.pop(layer, []):
            if key in self._held and self._held[key].ahead:
                self._worth.unguess(key)
        return wanted

    def read_ahead(self, layer: int, experts: Sequence[int]) -> None:
        """Reads experts that will perhaps be wanted, when nothing is read that is."""
        for expert in experts:
            key = (layer, int(expert))
            if key not in self._held and (slot := self._take()):
                slot.ahead = True
                self.stats.ahead += 1
                self._load(key, slot, urgent=False)
                self._worth.guess(key)
                self._guessed.setdefault(layer, []).append(key)

    def address(self, key: Key) -> tuple[int, ...]:
        """Where the six tensors of an expert lie in memory."""
        base = self._address + self._held[key].number * self.slot_bytes
        return tuple(base + at for at in self._record(key).tensors)

    def close(self) -> None:
        """Ends the readers and closes the shards. The pool stays until nobody holds an address of it."""
        for slot in self.slots:
            if slot.ahead and slot.loading:
                slot.loading.cancel()
        self._readers.close()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def hold(self, key: Key) -> Slot | None:
        """The slot of an expert, now in use; None where no slot can be had. `release` gives it back."""
        slot = self._held.get(key)
        if slot is None:
            slot = self._take()
            if slot is None:
                return None
            self.stats.misses += 1
            self._load(key, slot, urgent=True)
        else:
            self._count_hit(key, slot)
        self._worth.use(key)
        slot.users += 1
        return slot

    def pin(self, key: Key) -> tuple[int, ...] | None:
        """`address` of an expert that is there, which stays until `unpin`. None where it is not there, or half of all
        slots are pinned: the rest goes on serving. Counts no use."""
        slot = self._held.get(key)
        if slot is None or 2 * self._pinned >= len(self.slots) - 1:
            return None
        if slot.loading is not None and not (slot.loading.done() and _succeeded(slot.loading)):
            return None
        slot.users += 1
        self._pinned += 1
        return self.address(key)

    def unpin(self, key: Key) -> None:
        """The expert was copied elsewhere: its slot is free once nobody uses it."""
        self._pinned -= 1
        self.release(key, good=False)

    def release(self, key: Key, good: bool = True) -> None:
        """Ends a use. What was not `good` leaves the store with its last user."""
        slot = self._held[key]
        slot.users -= 1
        if not good and slot.users == 0:
            del self._held[key]
            self._worth.drop(key)
            slot.loading = None
            self._free.append(slot)

    def _count_hit(self, key: Key, slot: Slot) -> None:
        load = slot.loading
        if load and (load.cancel() or (load.done() and load.exception() is not None)):
            # Nobody had begun to read it ahead, or that failed: its slot is there, but not what it should hold.
            self.stats.misses += 1
            self._load(key, slot, urgent=True)
        else:
            self.stats.hits += 1
            self.stats.ahead_used += slot.ahead
        slot.ahead = False

    def _take(self) -> Slot | None:
        """A slot that nobody uses: a free one, or that of the expert that is worth least."""
        if self._free:
            return self._free.pop()
        key = self._worth.least(self._may_go)
        if key is None:
            return None
        slot = self._held.pop(key)
        slot.loading, slot.ahead = None, False
        return slot

    def _may_go(self, key: Key) -> bool:
        slot = self._held[key]
        return slot.users == 0 and (slot.loading is None or slot.loading.cancel() or slot.loading.done())

    def _load(self, key: Key, slot: Slot, urgent: bool) -> None:
        record = self._record(key)
        base = slot.number * self.slot_bytes

        def read() -> None:
            for piece in record.pieces:
                at = base + piece.at
                self._read(piece.shard, key[1], piece.begin, self._view[at : at + piece.size])
            with self._lock:
                self.stats.bytes_read += record.size

        slot.loading = self._readers.submit(read, urgent)
        self._held[key] = slot

    def _record(self, key: Key) -> Record:
        if key not in self._records:
            self._records[key] = record_of(self.checkpoint, self.config, *key)
        return self._records[key]

    def _read(self, shard: str, turn: int, begin: int, into: memoryview) -> None:
        """From the copies of a shard in turn; where a copy fails, from the published one."""
        copy = turn % len(self.checkpoint.copies[shard])
        try:
            self._file(shard, copy).read(begin, into)
        except WeightsError:
            if copy == 0:
                raise
            self._file(shard, 0).read(begin, into)

    def _file(self, shard: str, copy: int) -> DirectFile:
        with self._lock:
            if (shard, copy) not in self._files:
                self._files[shard, copy] = DirectFile(*self.checkpoint.copies[shard][copy])
            return self._files[shard, copy]


@dataclass
class Wanted:
    """Some experts of a layer, on their way. Iterating gives groups of them that are there; when the next group is
    asked for, the last one may leave. A read that failed raises, and nothing stays in use."""

    store: ExpertStore
    layer: int
    experts: list[int]
    _held: dict[int, Slot] = field(default_factory=dict)
    _next: int = 0

    def __post_init__(self) -> None:
        self._reach()

    def as_they_come(self) -> Iterator[list[int]]:
        """Those that are there first. All must fit at once, and all stay until `done`."""
        if self._next < len(self.experts):
            raise WeightsError(
                f"{len(self.experts)} experts are wanted at once, and the cache holds {len(self.store.slots)}"
            )
        left = dict(self._held)
        while left:
            there = [e for e, slot in left.items() if slot.loading is None or slot.loading.done()]
            if there:
                self._wait(there)
                left = {e: slot for e, slot in left.items() if e not in there}
                yield there
                continue
            begin = time.perf_counter()
            wait([slot.loading for slot in left.values() if slot.loading], return_when=FIRST_COMPLETED)
            self.store.stats.waited += time.perf_counter() - begin

    def leaving(self) -> Iterator[list[int]]:
        """Those that are there first, each group until the next is asked for; in ascending order where not all fit."""
        if self._next < len(self.experts):
            yield from self.ascending()
            return
        for group in self.as_they_come():
            yield group
            self._let_go(group)

    def ascending(self) -> Iterator[list[int]]:
        """One by one, as they are numbered; later ones are read meanwhile."""
        for i, expert in enumerate(self.experts):
            if i >= self._next:
                self._reach()
            if i >= self._next:
                raise WeightsError("every slot of the expert cache is in use; this is a fault of perilune")
            self._wait([expert])
            yield [expert]
            self._let_go([expert])
            self._reach()

    def done(self) -> None:
        self._let_go(list(self._held))

    def _reach(self) -> None:
        """Takes slots for as many more as there are."""
        while self._next < len(self.experts):
            expert = self.experts[self._next]
            slot = self.store.hold((self.layer, expert))
            if slot is None:
                return
            self._held[expert] = slot
            self._next += 1

    def _wait(self, experts: Sequence[int]) -> None:
        begin = time.perf_counter()
        try:
            for expert in experts:
                loading = self._held[expert].loading
                if loading is not None:
                    loading.result()
                    self._held[expert].loading = None
        except BaseException:
            self._give_up()
            raise
        self.store.stats.waited += time.perf_counter() - begin

    def _give_up(self) -> None:
        """Lets everything go once no thread writes to it any more; what was not read whole is forgotten."""
        loads = [slot.loading for slot in self._held.values() if slot.loading]
        for loading in loads:
            loading.cancel()
        wait(loads)
        for expert, slot in self._held.items():
            self.store.release((self.layer, expert), good=slot.loading is None or _succeeded(slot.loading))
        self._held.clear()

    def _let_go(self, experts: Sequence[int]) -> None:
        for expert in experts:
            if self._held.pop(expert, None):
                self.store.release((self.layer, expert))


def _succeeded(loading: Future[None]) -> bool:
    """Whether a read that is over brought all bytes."""
    return not loading.cancelled() and loading.exception() is None
