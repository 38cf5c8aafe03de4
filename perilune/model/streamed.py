"""Routed experts that are read from disk when they are needed: Int4Experts on an expert store.

The kernels, and the order in which a token's experts are added, are those of experts in memory, so the bits are too.
Few tokens take their experts in the order in which they arrive; many take them in ascending order, each once, while
the next ones are being read.

Legend: T tokens, D hidden, E experts, K chosen ones a token, P = T * K pairs, R pairs of some experts, G experts there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from perilune.config import ModelConfig
from perilune.kernels import int4_cpu
from perilune.model.layers import RMSNorm, linear
from perilune.model.moe import Int4Experts, Router, Routing
from perilune.weights.experts import ExpertStore, Wanted

KEPT_BYTES = 32 << 20  # outputs of single pairs that may wait for their turn to be added


class LookAhead:
    """Guesses the experts of the next layer by running its own router one layer early, on the stream that lacks what
    this layer's experts will add. A guess only says what to read when nothing else is read."""

    def __init__(self, norm: RMSNorm, router: Router, experts: StreamedExperts, width: int):
        self.norm, self.router, self.experts, self.width = norm, router, experts, width

    def __call__(self, x_BD: np.ndarray) -> None:
        scores_BE = linear(self.norm(torch.from_numpy(x_BD)), self.router.weight).sigmoid()
        best_BW = self.router.choose(scores_BE)[:, : self.width]
        self.experts.store.read_ahead(self.experts.layer, torch.unique(best_BW).tolist())


class StreamedExperts(Int4Experts):
    """The experts of one layer. `table_E6` holds addresses only while a call uses them."""

    def __init__(self, config: ModelConfig, store: ExpertStore, layer: int, mode: str):
        super().__init__(config, torch.zeros(config.n_routed_experts, 6, dtype=torch.int64), store, mode)
        self.store, self.layer = store, layer

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        x = x_TD.detach().contiguous().numpy()
        ids_P, weights_P = routing.ids_TK.numpy().reshape(-1), routing.weights_TK.detach().numpy().reshape(-1)
        out_TD = np.zeros_like(x)
        pairs_P = np.argsort(ids_P, kind="stable")[np.count_nonzero(ids_P < 0) :]
        if not pairs_P.size:
            return torch.from_numpy(out_TD)
        experts_G, starts_G = np.unique(ids_P[pairs_P], return_index=True)
        pairs_of = dict(zip(experts_G.tolist(), np.split(pairs_P, starts_G[1:]), strict=True))
        slots = routing.ids_TK.shape[1]
        wanted = self.store.want(self.layer, list(pairs_of))
        try:
            if ids_P.size * x.shape[1] * 4 > KEPT_BYTES:
                for group in wanted.ascending():
                    pairs_R = pairs_of[group[0]]
                    y_RD = self._rows(x[pairs_R // slots], np.zeros(len(pairs_R), np.int64), group)
                    int4_cpu.add_rows(y_RD, pairs_R // slots, weights_P[pairs_R], out_TD)
            else:
                y_PD = np.empty((ids_P.size, x.shape[1]), np.float32)
                for group in wanted.leaving():
                    parts = [pairs_of[e] for e in group]
                    which_R = np.repeat(np.arange(len(group)), [len(part) for part in parts])
                    pairs_R = np.concatenate(parts)
                    y_PD[pairs_R] = self._rows(x[pairs_R // slots], which_R, group)
                int4_cpu.add_rows(y_PD[pairs_P], pairs_P // slots, weights_P[pairs_P], out_TD)
        finally:
            wanted.done()
        return torch.from_numpy(out_TD)

    def lend(self, expert: int) -> Sequence[int] | None:
        return self.store.pin((self.layer, expert))

    def returned(self, expert: int) -> None:
        self.store.unpin((self.layer, expert))

    @contextmanager
    def arriving(self, experts: list[int], meanwhile: Callable[[], None]) -> Iterator[Iterator[list[int]]]:
        """Groups of these experts as they come, for which the cache must have room together. From then on, as long as
        the context lasts, `table_E6` holds their addresses. `meanwhile` runs once they have been asked for."""
        wanted = self.store.want(self.layer, experts)
        try:
            meanwhile()
            yield self._placed(wanted)
        finally:
            wanted.done()

    def _placed(self, wanted: Wanted) -> Iterator[list[int]]:
        for group in wanted.as_they_come():
            rows = [self.store.address((self.layer, e)) for e in group]
            self.table_E6[group] = torch.tensor(rows, dtype=torch.int64)
            yield group

    def _rows(self, x_RD: np.ndarray, which_R: np.ndarray, group: list[int]) -> np.ndarray:
        """What each row's expert, by its place in the group, makes of it."""
        table_G6 = np.array([self.store.address((self.layer, e)) for e in group], np.int64)
        c, ones_R1 = self.config, np.ones((len(x_RD), 1), np.float32)
        return int4_cpu.expert_ffn(
            x_RD, which_R[:, None], ones_R1, table_G6, c.hidden_size, c.moe_intermediate_size, self.mode
        )
