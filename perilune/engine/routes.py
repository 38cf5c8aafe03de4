"""Which experts each token of a reply passed, for requests that ask for it. Without one, a step costs nothing more.

Legend: T tokens that pass a layer together, K chosen experts a token.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from perilune.model.model import Transformer
from perilune.model.moe import MoE

Row = tuple[list[int], list[float]]
Observer = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Route:
    """The experts of one token in one layer, with their weights."""

    layer: int
    experts: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass
class Seen:
    """What passed each layer while it was watched, in the order in which it did."""

    rows: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def of(self, index: int, count: int) -> list[Route]:
        """The routes of one of `count` tokens that took a step together. A layer that other rows passed too tells only
        of a sequence that was alone: there the last row is the newest token."""
        routes = []
        for layer, rows in sorted(self.rows.items()):
            if len(rows) == count or count == 1:
                ids, weights = rows[index if len(rows) == count else -1]
                routes.append(Route(layer, tuple(ids), tuple(weights)))
        return routes


class Routes:
    """The layers of a model that route."""

    def __init__(self, model: Transformer):
        self._moes = {i: block.mlp for i, block in enumerate(model.blocks) if isinstance(block.mlp, MoE)}

    @contextmanager
    def watched(self, wanted: bool) -> Generator[Seen, None, None]:
        """What this thread computes inside is seen; others, which may be reading, are not."""
        seen = Seen()
        if not wanted:
            yield seen
            return
        before = {layer: moe.observe for layer, moe in self._moes.items()}
        for layer, moe in self._moes.items():
            moe.observe = partial(_see, seen, layer, threading.get_ident(), before[layer])
        try:
            yield seen
        finally:
            for layer, moe in self._moes.items():
                moe.observe = before[layer]


def _see(seen: Seen, layer: int, thread: int, also: Observer | None, ids_TK: Tensor, weights_TK: Tensor) -> None:
    if threading.get_ident() == thread:
        seen.rows[layer] += zip(ids_TK.tolist(), weights_TK.tolist(), strict=True)
    if also is not None:
        also(ids_TK, weights_TK)
