"""`perilune bench cache`: what cache policies and sizes would have done on a recorded routing trace.

Policies: `fading` is what the expert store does (weights/worth.py); `recency` gives away what was not used for the
longest time; `frequency` gives away what was used least, old uses fading slowly; `pinned` keeps for ever what the first
half of the trace used most; `clairvoyant` gives away what is needed last, which no real policy can beat.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from perilune.api.trace import Step, Trace
from perilune.errors import RequestError
from perilune.weights.worth import FadingUses, Key

FADE = 0.995  # of an expert's count, from one token to the next
SHARES = (0.02, 0.05, 0.1, 0.17, 0.25, 0.35, 0.5, 0.75)


@dataclass(frozen=True)
class Replay:
    policy: str
    share: float  # of all experts that the cache holds
    slots: int
    hit_rate: float
    reads_per_token: float


def replay_all(trace: Trace, shares: Sequence[float] = SHARES) -> list[Replay]:
    """Every policy at every size. The first half of the trace warms the caches up and teaches `pinned`; hits are
    counted in the second."""
    if not trace.steps or trace.tokens < 2:
        raise RequestError("the trace holds too few tokens to replay")
    uses = list(_uses(trace.steps))
    everything = trace.experts * len(trace.layers)
    made = []
    for share in shares:
        slots = max(trace.per_token, round(share * everything))
        for name, policy in POLICIES.items():
            hits = policy(uses, slots, len(trace.layers))
            counted = hits[len(hits) // 2 :]
            tokens = max(1.0, trace.tokens / 2)
            made.append(Replay(name, share, slots, float(np.mean(counted)), float((~counted).sum()) / tokens))
    return made


def to_dicts(replays: Sequence[Replay]) -> list[dict[str, Any]]:
    return [asdict(replay) for replay in replays]


def as_table(trace: Trace, replays: Sequence[Replay]) -> Table:
    """One row for each size, one column for each policy."""
    title = f"{trace.tokens:,} tokens, {len(trace.layers)} layers of {trace.experts} experts, {trace.per_token} a token"
    table = Table("share", "slots", *POLICIES, title=f"Hit rate in the second half of the trace\n{title}")
    for share in dict.fromkeys(replay.share for replay in replays):
        row = {replay.policy: replay for replay in replays if replay.share == share}
        slots = next(iter(row.values())).slots
        table.add_row(f"{share:.0%}", f"{slots:,}", *(f"{row[name].hit_rate:.1%}" for name in POLICIES))
    return table


def _uses(steps: Sequence[Step]) -> Iterator[Key]:
    """Tokens that pass a layer together read each of its experts once."""
    for step in steps:
        for expert in np.unique(step.experts_TK).tolist():
            yield step.layer, expert


def _fading(uses: Sequence[Key], slots: int, layers: int) -> np.ndarray:
    worth, layer = FadingUses(layers), -1
    hits = np.zeros(len(uses), bool)
    for i, key in enumerate(uses):
        if key[0] != layer:
            worth.next_layer()
            layer = key[0]
        hits[i] = key in worth
        if not hits[i] and len(worth) == slots:
            worth.least(lambda _: True)
        worth.use(key)
    return hits


def _recency(uses: Sequence[Key], slots: int, layers: int) -> np.ndarray:
    held: OrderedDict[Key, None] = OrderedDict()
    hits = np.zeros(len(uses), bool)
    for i, key in enumerate(uses):
        hits[i] = key in held
        held[key] = None
        held.move_to_end(key)
        if len(held) > slots:
            held.popitem(last=False)
    return hits


def _frequency(uses: Sequence[Key], slots: int, layers: int) -> np.ndarray:
    """Counts fade with the number of layers passed, so that old favourites leave at last."""
    count: dict[Key, float] = {}
    held: set[Key] = set()
    heap: list[tuple[float, Key]] = []
    hits = np.zeros(len(uses), bool)
    growth, step = FADE ** (-1.0 / max(1, layers * 8)), 1.0
    for i, key in enumerate(uses):
        hits[i] = key in held
        # A count that grows newer uses instead of fading older ones keeps the order and touches one entry.
        count[key] = count.get(key, 0.0) + step
        step *= growth
        held.add(key)
        heapq.heappush(heap, (count[key], key))
        while len(held) > slots:
            value, oldest = heapq.heappop(heap)
            if oldest in held and count[oldest] == value:
                held.remove(oldest)
        if step > 1e200:
            count = {k: v / step for k, v in count.items()}
            heap = [(count[k], k) for k in held]
            heapq.heapify(heap)
            step = 1.0
    return hits


def _pinned(uses: Sequence[Key], slots: int, layers: int) -> np.ndarray:
    kept = {key for key, _ in Counter(uses[: len(uses) // 2]).most_common(slots)}
    return np.array([key in kept for key in uses], bool)


def _clairvoyant(uses: Sequence[Key], slots: int, layers: int) -> np.ndarray:
    following = np.full(len(uses), len(uses), np.int64)
    last: dict[Key, int] = {}
    for i in range(len(uses) - 1, -1, -1):
        following[i] = last.get(uses[i], len(uses) + i)
        last[uses[i]] = i
    held: dict[Key, int] = {}
    heap: list[tuple[int, Key]] = []
    hits = np.zeros(len(uses), bool)
    for i, key in enumerate(uses):
        hits[i] = key in held
        held[key] = int(following[i])
        heapq.heappush(heap, (-held[key], key))
        while len(held) > slots:
            when, furthest = heapq.heappop(heap)
            if held.get(furthest) == -when:
                del held[furthest]
    return hits


POLICIES: dict[str, Callable[[Sequence[Key], int, int], np.ndarray]] = {
    "fading": _fading,
    "recency": _recency,
    "frequency": _frequency,
    "pinned": _pinned,
    "clairvoyant": _clairvoyant,
}
