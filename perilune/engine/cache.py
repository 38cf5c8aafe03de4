"""Prefix reuse: states of finished sequences, kept for the next prompt that begins with the same ids.

A conversation's next turn begins with what the last one left, so most of its prefill is already done. A state is only
reused under the salt it was kept under: from how fast an answer comes nobody learns what others have asked.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np

from perilune.model.state import SequenceState

MIN_REUSED_TOKENS = 8  # below this, copying a state is not worth disturbing the order of use


@dataclass(eq=False)
class _Entry:
    ids: np.ndarray
    state: SequenceState
    salt: str


class PrefixCache:
    """The most recently used states, at most `max_entries` of them and `max_bytes` together."""

    def __init__(self, max_entries: int = 8, max_bytes: int = 1 << 30) -> None:
        if max_entries < 0 or max_bytes < 0:
            raise ValueError("a prefix cache cannot have negative limits")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._entries: list[_Entry] = []  # least recently used first

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        return sum(entry.state.nbytes for entry in self._entries)

    def take(self, prompt_ids: Seq[int] | np.ndarray, salt: str = "") -> SequenceState | None:
        """A state holding the longest known prefix of the prompt, owned by the caller from then on, or None.

        The last prompt token is never taken from the cache: its logits give the first new token.
        """
        wanted = np.asarray(prompt_ids[:-1], np.int64)
        shared = [_usable(e, common_prefix(e.ids, wanted)) if e.salt == salt else 0 for e in self._entries]
        longest = max(shared, default=0)
        if longest < MIN_REUSED_TOKENS:
            return None
        # Of equal prefixes the newest is the likeliest to be moved whole instead of copied.
        index = len(shared) - 1 - shared[::-1].index(longest)
        entry = self._entries.pop(index)
        if longest == entry.ids.size and not entry.state.is_recurrent:
            return entry.state
        self._entries.append(entry)
        return entry.state.fork(longest)

    def put(self, ids: Seq[int] | np.ndarray, state: SequenceState, salt: str = "") -> None:
        """Keeps a state that holds exactly `ids`; the cache owns it from here on."""
        known = np.asarray(ids, np.int64)
        if known.size != state.length:
            raise ValueError(f"a state of {state.length} tokens cannot be stored under {known.size} ids")
        if known.size < MIN_REUSED_TOKENS or not self.max_entries:
            return
        # Of two states where one begins with the other, the longer answers everything the shorter could, if it can
        # go back; a recurrent one cannot.
        if any(entry.salt == salt and _answers(entry.ids, entry.state, known) for entry in self._entries):
            return
        self._entries = [e for e in self._entries if e.salt != salt or not _answers(known, state, e.ids)]
        state.shrink()
        self._entries.append(_Entry(known, state, salt))
        while len(self._entries) > self.max_entries or self.nbytes > self.max_bytes:
            self._entries.pop(0)

    def clear(self) -> None:
        self._entries.clear()


def _usable(entry: _Entry, shared: int) -> int:
    """How much of an entry a prompt can use that shares so many ids with it."""
    return 0 if entry.state.is_recurrent and shared < entry.ids.size else shared


def _answers(ids: np.ndarray, state: SequenceState, shorter: np.ndarray) -> bool:
    shared = common_prefix(ids, shorter)
    return shared == shorter.size and (shared == ids.size or not state.is_recurrent)


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """How many leading ids are equal."""
    size = min(a.size, b.size)
    different = np.flatnonzero(a[:size] != b[:size])
    return int(different[0]) if different.size else size
