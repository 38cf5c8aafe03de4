"""Which replica answers a request: the one that has most of its prompt in its cache, unless it has too much to do.

A conversation is known by a chain of hashes, one at the end of each piece of its text; each covers everything before
it. Who served a prefix last has it in its cache most likely. This is a guess only: a wrong one costs time, and nothing
else. Loads are bounded as in consistent hashing with bounded loads (Mirrokni et al., arXiv 1608.01350): nobody is
given more than SPREAD times the mean.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIECE = 4096  # characters; a message ends a piece, too
MOST_PIECES = 1024  # of a request; what comes after them tells no conversations apart
MOST_KNOWN = 200_000  # prefixes and keys
SPREAD = 1.25
WORTH = 0.25  # of a request must be known before it is drawn to where it is known
SILENT = frozenset(("cache_control", "id", "type", "status", "logprobs"))  # the same turn is sent with and without them


@dataclass(frozen=True)
class Asked:
    """What a request is known by. `prefixes` are hashes and the share of the request that each covers, in (0, 1], the
    shortest first; `key` is what its client groups requests by, `user` whom it asks for."""

    prefixes: tuple[tuple[bytes, float], ...] = ()
    key: bytes | None = None
    user: bytes | None = None


def asked_of(body: Mapping[str, Any], owner: str = "") -> Asked:
    """Of a request in any of the three protocols. Owners share no prefixes, as they share no caches."""
    said = body.get("messages", body.get("input"))
    turns = said if isinstance(said, list) else [{"role": "user", "content": said}]
    head = [body.get(name) for name in ("system", "instructions", "tools")]
    digest = hashlib.blake2b(owner.encode(), digest_size=16)
    made: list[tuple[bytes, int]] = []
    length = 0
    for piece in _pieces([head, *turns]):
        if len(made) == MOST_PIECES:
            break
        length += len(piece)
        digest.update(piece.encode(errors="replace"))
        made.append((digest.digest(), length))
    prefixes = tuple((hashed, end / length) for hashed, end in made)
    return Asked(prefixes, _named(body, owner, "prompt_cache_key"), _named(body, owner, "user"))


def _pieces(turns: list[Any]) -> Iterator[str]:
    for turn in turns:
        text = "\0".join(_said(turn)) + "\0"
        if len(text) > 1:
            yield from (text[at : at + PIECE] for at in range(0, len(text), PIECE))


def _said(turn: Any) -> Iterator[str]:
    """All texts of a turn in a fixed order; a text is the same as a list of its one part."""
    left = [turn]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left.extend(one[name] for name in sorted(one, reverse=True) if name not in SILENT)
        elif isinstance(one, list):
            left.extend(reversed(one))
        elif one is not None:
            yield str(one)


def _named(body: Mapping[str, Any], owner: str, name: str) -> bytes | None:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        return None
    return hashlib.blake2b(f"{owner}\0{name}\0{value}".encode(errors="replace"), digest_size=16).digest()


class PrefixRouter:
    """Remembers who served what."""

    def __init__(self, most_known: int = MOST_KNOWN):
        self.most_known = most_known
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._turn = 0

    def choose(self, asked: Asked, loads: Mapping[str, int]) -> str:
        """One of the replicas in `loads`, which says how many requests each has open; there is at least one."""
        bound = math.ceil(SPREAD * (sum(loads.values()) + 1) / len(loads))
        for name in self._likely(asked):
            if loads.get(name, bound) < bound:
                chosen = name
                break
        else:
            least = min(loads.values())
            idle = [name for name in loads if loads[name] == least]
            chosen = idle[self._turn % len(idle)]
            self._turn += 1
        self._remember(asked, chosen)
        return chosen

    def _likely(self, asked: Asked) -> Iterator[str]:
        """Replicas that may have the prompt, the likeliest first; some of them may be gone."""
        if asked.key in self._known:
            yield self._known[asked.key]
        for hashed, share in reversed(asked.prefixes):
            if share < WORTH:
                break
            if hashed in self._known:
                yield self._known[hashed]
        if asked.user in self._known:
            yield self._known[asked.user]

    def _remember(self, asked: Asked, name: str) -> None:
        """The ends of prefixes are forgotten before their beginnings, which more requests share."""
        for hashed in (asked.key, asked.user, *(hashed for hashed, _ in reversed(asked.prefixes))):
            if hashed is not None:
                self._known[hashed] = name
                self._known.move_to_end(hashed)
        while len(self._known) > self.most_known:
            self._known.popitem(last=False)
