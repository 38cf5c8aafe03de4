"""Which expert is worth keeping: its uses, each of which counts half as much after a few more tokens.

A plain order of last use forgets that an expert was used often, and keeps nothing at all once the cache is smaller
than what one token uses; a plain count never forgets. Uses that fade do both (LRFU). The rate was chosen on routing
traces of nano and on synthetic ones with locality in the measured range: see docs/NUMBERS.md.

Source: LRFU (Lee et al., IEEE Transactions on Computers 50(12), 2001).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

FADE = 0.8  # what a use counts after one more token

Key = tuple[int, int]  # layer, expert


class FadingUses:
    """Worths of the experts of `layers` layers. The order of two worths does not change as time passes: a worth is
    stored as the logarithm that it had when all began, and grows only when its expert is used."""

    def __init__(self, layers: int, fade: float = FADE):
        self._step = -math.log2(fade) / max(1, layers)
        self._now = 0.0
        self._uses: dict[Key, float] = {}  # of keys that were ever used, log2
        self._worth: dict[Key, float] = {}  # of keys that are held
        self._heap: list[tuple[float, int, Key]] = []
        self._turn = 0  # of two keys with the same worth the one that came first goes first

    def __contains__(self, key: Key) -> bool:
        return key in self._worth

    def __len__(self) -> int:
        return len(self._worth)

    def next_layer(self) -> None:
        """Some tokens pass one more layer."""
        self._now += self._step

    def use(self, key: Key) -> None:
        """Counts a use, and holds the key."""
        self._hold(key, self.count(key))

    def count(self, key: Key, times: int = 1) -> float:
        """Counts uses of a key that is held or not; what it is then worth, log2."""
        before = self._uses.get(key, -math.inf)
        self._uses[key] = self._now + math.log2(times + 2 ** (before - self._now))
        return self._uses[key]

    def keep(self, key: Key) -> None:
        """Holds a key for what its uses are worth."""
        self._hold(key, self._uses.get(key, -math.inf))

    def guess(self, key: Key) -> None:
        """Holds a key as if it were used now, without counting that."""
        self._hold(key, self._now)

    def unguess(self, key: Key) -> None:
        """A guess that nobody used is worth what its uses are."""
        if key in self:
            self.keep(key)

    def drop(self, key: Key) -> None:
        """The key is no longer held; its uses stay."""
        self._worth.pop(key, None)

    def lowest(self) -> float:
        """The least worth of a key that is held; infinity where none is."""
        while self._heap and self._worth.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def least(self, may_go: Callable[[Key], bool]) -> Key | None:
        """The key of least worth that may go, no longer held; None where none may."""
        kept, found = [], None
        while self._heap and found is None:
            entry = heapq.heappop(self._heap)
            key = entry[2]
            if self._worth.get(key) != entry[0]:
                continue  # used since, or gone
            if may_go(key):
                found = key
            else:
                kept.append(entry)
        for entry in kept:
            heapq.heappush(self._heap, entry)
        if found is not None:
            self.drop(found)
        return found

    def _hold(self, key: Key, worth: float) -> None:
        if self._worth.get(key) != worth:
            self._worth[key] = worth
            self._turn += 1
            heapq.heappush(self._heap, (worth, self._turn, key))
        if len(self._heap) > 4 * len(self._worth) + 64:
            self._heap = [entry for entry in self._heap if self._worth.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
