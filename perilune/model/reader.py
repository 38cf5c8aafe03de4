"""Attention of the layers above the chunk memory: a sliding window over live tokens, fused with the chosen chunks.

Window and memory share one softmax: a chunk's tokens enter with their own logits plus the chunk's score, so that the
loss teaches the selector. The memory's latents have no position; keys and values are never expanded for them.

Legend: B rows, T live tokens, S window positions, D hidden, H heads, N nope, R rope, Q = N + R and V value widths,
L rank of a memory latent, M gathered memory tokens (the chosen chunks of a row, laid end to end).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.model.attention import LatentAttention, attend
from perilune.model.chosen import Chosen
from perilune.model.layers import Linear


class WindowReader(LatentAttention):
    """Latent attention within a window, and reading of the chunk memory where there is one."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        assert config.memory is not None
        heads, rank = config.num_attention_heads, config.memory.latent_rank
        self.window = config.memory.window
        self.memory_q_proj = Linear(config.hidden_size, heads * config.qk_nope_head_dim)
        self.memory_kv_b_proj = Linear(rank, heads * (config.qk_nope_head_dim + config.v_head_dim))
        self.chunk_scale = nn.Parameter(torch.zeros(heads))
        self.fit_scale = nn.Parameter(torch.zeros(heads))
        self.sink = nn.Parameter(torch.zeros(rank))

    def attend_documents(self, q: Tensor, k: Tensor, v: Tensor, documents: list[int] | None) -> Tensor:
        """Packed documents without a memory: each token sees its document's last `window` tokens."""
        parts = zip(*(x.split(documents or [q.shape[2]], dim=2) for x in (q, k, v)), strict=True)
        return torch.cat([self._within(*part) for part in parts], dim=2)

    def mask(self, seen_RSS: Tensor) -> Tensor:
        length = seen_RSS.shape[1]
        return seen_RSS & window_mask(length, length, self.window, seen_RSS.device)

    def _within(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length = q.shape[2]
        mask = None if length <= self.window else window_mask(length, length, self.window, q.device)
        return attend(q, k, v, self.config.softmax_scale, mask)

    def read(
        self, x_BTD: Tensor, cos: Tensor, sin: Tensor, rows_BSW: Tensor | None, parts: list[tuple[Chosen, Tensor]]
    ) -> Tensor:
        """Live tokens after the window rows before them (already in `rows_BSW`, with their own at the end).

        `parts` says which chosen chunks are read besides, and by which tokens (times [B, R]); the others see the
        window alone.
        """
        if rows_BSW is None:
            rows_BSW = self.latents(x_BTD, cos, sin)
        q = self.queries(x_BTD, cos, sin).transpose(1, 2)
        k, v = self.expand(rows_BSW)
        mask_TS = window_mask(q.shape[2], k.shape[2], self.window, q.device)
        if len(parts) == 1 and parts[0][1].shape[1] == q.shape[2]:
            out = self._fused(q, k, v, mask_TS.expand(q.shape[0], -1, -1), x_BTD, parts[0][0]).transpose(1, 2)
            return self.o_proj(out.flatten(2))
        out = attend(q, k, v, self.config.softmax_scale, mask_TS).transpose(1, 2)
        for chosen, time_BR in parts:
            q_BRHQ, x_BRD = take(q.transpose(1, 2), time_BR), take(x_BTD, time_BR)
            read = self._fused(q_BRHQ.transpose(1, 2), k, v, mask_TS[time_BR], x_BRD, chosen).transpose(1, 2)
            out = out.scatter(1, time_BR[..., None, None].expand_as(read), read)
        return self.o_proj(out.flatten(2))

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, mask_BTS: Tensor, x_BTD: Tensor, chosen: Chosen) -> Tensor:
        """One softmax over window, chosen chunks and sink: [B, H, T, V]."""
        c = self.config
        w_HOL = self.memory_kv_b_proj.weight.float().unflatten(0, (c.num_attention_heads, -1))
        up_k_HNL, up_v_HVL = w_HOL.split([c.qk_nope_head_dim, c.v_head_dim], dim=1)
        q_BHTN = self.memory_q_proj(x_BTD).unflatten(-1, (c.num_attention_heads, -1)).transpose(1, 2)
        q_BHTL = q_BHTN @ up_k_HNL * c.qk_nope_head_dim**-0.5
        latents_BML = chosen.latents_BML
        # Heads are rows of one product, since all of them read the same latents.
        heads = c.num_attention_heads
        read_BHTM = (q_BHTL.flatten(1, 2) @ latents_BML.mT).unflatten(1, (heads, -1))
        window_BHTS = (q @ k.mT * c.softmax_scale).masked_fill(~mask_BTS.unsqueeze(1), -torch.inf)
        bias_BHM = chosen.bias(self.chunk_scale.float().exp(), self.fit_scale.float().exp())
        memory_BHTM = read_BHTM + bias_BHM.unsqueeze(2)
        sink_BHT1 = (q_BHTL @ self.sink.float()).unsqueeze(-1)
        p = torch.cat((window_BHTS, memory_BHTM, sink_BHT1), dim=-1).softmax(-1)
        p_window, p_memory, p_sink = p.split([window_BHTS.shape[-1], memory_BHTM.shape[-1], 1], dim=-1)
        mixed_BHTL = (p_memory.flatten(1, 2) @ latents_BML).unflatten(1, (heads, -1))
        return p_window @ v + (mixed_BHTL + p_sink * self.sink.float()) @ up_v_HVL.mT


def take(x_BTx: Tensor, time_BR: Tensor) -> Tensor:
    """The tokens of each row at the given places: [B, R, ...]."""
    return x_BTx[torch.arange(time_BR.shape[0], device=time_BR.device).unsqueeze(1), time_BR]


def window_mask(queries: int, keys: int, window: int, device: torch.device | None = None) -> Tensor:
    """True where a query sees a key: the last `window` positions up to its own; the last query is the last key."""
    all_TS = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return all_TS.tril(keys - queries) & ~all_TS.tril(keys - queries - window)
