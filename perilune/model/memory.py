"""Chunk memory: what has been read, kept as latents in chunks, and the selector that finds the chunks a token needs.

Written once at mid-depth, read by every layer above it. A latent carries no position. Selection is late interaction:
every live token has an index query; a chunk's match with it is the best of the chunk's keys; the matches of all live
tokens so far are averaged by learned importance. A chunk is scored together with each of its two neighbours, so that
nothing is lost where a border cuts a sentence.

Legend: B rows, T live tokens, C chunks, S tokens of a chunk, D hidden, L latent rank, G groups and I width of an
index key, J taps (a token and the ones before it).
Sources: ColBERT (arXiv 2004.12832) for late interaction by the best match; HSA (arXiv 2504.16795) and HiLS attention
(arXiv 2607.02980) for a selection inside the forward pass on latents without position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import MemoryConfig
from perilune.kernels import match_cpu
from perilune.model.layers import Linear, RMSNorm, following

SHARPNESS = 3  # a match counts with its third power: half a match is worth an eighth


@dataclass
class Pages:
    """Chunks as the selector and the readers see them. `ids` is -1 where a chunk is not full; `heads` names the first
    chunk of the segment that each one belongs to, where the name of its file stands."""

    latents_CSL: Tensor
    keys_CSGI: Tensor
    ids_CS: Tensor
    heads_C: Tensor
    fixed: int = 0  # so many at the end are given: nothing is learned from being found there

    @property
    def next_ids_CS(self) -> Tensor:
        return following_ids(self.ids_CS)

    def some_keys(self, chunk_BK: Tensor) -> Tensor:
        """Keys of some chunks, without what could be learned from them: [B, K, S, G, I]."""
        return self.keys_CSGI.detach()[chunk_BK]


def first_chunks(counts_N: Tensor) -> Tensor:
    """For segments of so many chunks each, one after the other: the first chunk of every chunk's segment. [C]"""
    return (counts_N.cumsum(0) - counts_N).repeat_interleave(counts_N)


def following_ids(ids_CS: Tensor) -> Tensor:
    """The token that follows each one; -1 where none does."""
    return following(ids_CS.view(1, -1)).view_as(ids_CS)


@dataclass
class Queries:
    """What live tokens ask: index queries, their importance by group, and how much of the past they keep."""

    index_BTGI: Tensor
    weight_BTG: Tensor
    log_keep_BT: Tensor

    def part(self, start: int, end: int | None = None) -> Queries:
        """Those of some tokens."""
        part = slice(start, end)
        return Queries(self.index_BTGI[:, part], self.weight_BTG[:, part], self.log_keep_BT[:, part])

    @classmethod
    def joined(cls, parts: list[Queries]) -> Queries:
        rows = zip(*((p.index_BTGI, p.weight_BTG, p.log_keep_BT) for p in parts), strict=True)
        return cls(*(torch.cat(each, 1) for each in rows))


KEY_SCALE = 127.0


@dataclass
class StoredPages:
    """Pages as a memory keeps them: float16 latents, and int8 keys packed for the scan (kernels/match_cpu.py)."""

    latents_CSL: Tensor
    packed: Tensor
    ids_CS: Tensor
    heads_C: Tensor

    @cached_property
    def next_ids_CS(self) -> Tensor:
        return following_ids(self.ids_CS)

    def some_keys(self, chunk_BK: Tensor) -> Tensor:
        keys = match_cpu.unpack_keys(self.packed[chunk_BK.flatten()].numpy())
        return torch.from_numpy(keys).float().unflatten(0, chunk_BK.shape) / KEY_SCALE


def stored(pages: Pages) -> StoredPages:
    keys = (pages.keys_CSGI * KEY_SCALE).round().to(torch.int8)
    packed = torch.from_numpy(match_cpu.pack_keys(keys.numpy()))
    return StoredPages(pages.latents_CSL.half(), packed, pages.ids_CS.to(torch.int32), pages.heads_C)


def scan(index_NGI: Tensor, pages: StoredPages) -> Tensor:
    """`best_matches` on stored keys with queries rounded alike: integer sums, so it adds no rounding of its own."""
    rounded_NGI = (index_NGI * KEY_SCALE).round().to(torch.int8)
    sums_NGC = match_cpu.best_matches(rounded_NGI.contiguous().numpy(), pages.packed.numpy())
    return torch.from_numpy(sums_NGC.astype(np.float32)) / KEY_SCALE**2


class ChunkMemory(nn.Module):
    """Writes latents and index keys from the hidden states at mid-depth, and makes the queries of live tokens."""

    def __init__(self, hidden_size: int, config: MemoryConfig, norm_eps: float):
        super().__init__()
        self.config = config
        width = config.index_groups * config.index_dim
        self.norm = RMSNorm(hidden_size, norm_eps)
        self.latent_proj = Linear(config.taps * hidden_size, config.latent_rank)
        self.latent_norm = RMSNorm(config.latent_rank, norm_eps)
        self.index_proj = Linear(config.taps * hidden_size, width)
        self.query_down = Linear(hidden_size, config.query_rank)
        self.query_up = Linear(config.query_rank, width)
        self.weight_proj = Linear(hidden_size, config.index_groups)
        self.weight_bias = nn.Parameter(torch.zeros(config.index_groups))
        self.keep_proj = Linear(hidden_size, 1)
        self.keep_bias = nn.Parameter(torch.zeros(1))

    def features(self, h_BTD: Tensor, segments_BT: Tensor | None = None, before_BJD: Tensor | None = None) -> Tensor:
        """Normed hidden states beside those of the J - 1 tokens before: [B, T, J*D], newest first.

        `before_BJD` are the normed states of the J - 1 tokens before the first (zeros at the start).
        """
        taps = self.config.taps
        x_BTD = self.norm(h_BTD)
        if before_BJD is None:
            before_BJD = x_BTD.new_zeros(x_BTD.shape[0], taps - 1, x_BTD.shape[2])
        padded = torch.cat((before_BJD, x_BTD), dim=1)
        length = x_BTD.shape[1]
        parts = [x_BTD]
        for tap in range(1, taps):
            part = padded[:, taps - 1 - tap : taps - 1 - tap + length]
            if segments_BT is not None:
                same = F.pad(segments_BT[:, tap:] == segments_BT[:, :-tap], (tap, 0), value=False)
                part = part * same.unsqueeze(-1)
            parts.append(part)
        return torch.cat(parts, dim=-1)

    def latents(self, features: Tensor) -> Tensor:
        return self.latent_norm(self.latent_proj(features))

    def keys(self, features: Tensor) -> Tensor:
        """Index keys of unit length: [..., G, I]."""
        return self._unit(self.index_proj(features))

    def queries(self, features: Tensor) -> Queries:
        x = features[..., : self.norm.weight.shape[0]]
        index = self._unit(self.index_proj(features) + self.query_up(self.query_down(x)))
        weight = F.softplus(self.weight_proj(x) + self.weight_bias.float())
        return Queries(index, weight, F.logsigmoid(self.keep_proj(x) + self.keep_bias.float()).squeeze(-1))

    def _unit(self, index: Tensor) -> Tensor:
        return F.normalize(index.unflatten(-1, (self.config.index_groups, self.config.index_dim)), dim=-1)

    def pages(self, features_BTJ: Tensor, ids_BT: Tensor) -> Pages:
        """Rows of whole chunks → pages, row after row; each row is a segment."""
        size = self.config.chunk_size
        latents = self.latents(features_BTJ).unflatten(1, (-1, size)).flatten(0, 1)
        # A key of zeros matches nothing: that is how places without a token stay out.
        keys = self.keys(features_BTJ) * (ids_BT >= 0)[..., None, None]
        keys = keys.unflatten(1, (-1, size)).flatten(0, 1)
        ids_BCS = ids_BT.unflatten(1, (-1, size))
        rows, chunks = ids_BCS.shape[:2]
        heads_C = first_chunks(torch.full((rows,), chunks, device=ids_BT.device))
        return Pages(latents, keys, ids_BCS.flatten(0, 1), heads_C)


def best_matches_plain(index_NGI: Tensor, keys_CSGI: Tensor) -> Tensor:
    """The definition of a match: the best of a chunk's keys for each query and group, [N, G, C]."""
    return torch.einsum("ngi,csgi->ngcs", index_NGI, keys_CSGI).amax(-1)


class _BestMatches(torch.autograd.Function):
    """The same, remembering only which key won: the backward pass touches winners alone."""

    @staticmethod
    def forward(ctx, index_NGI: Tensor, keys_CSGI: Tensor, fixed: int) -> Tensor:  # type: ignore
        chunks, size = keys_CSGI.shape[:2]
        best, winner = [], []
        for index_NI, keys_CSI in zip(index_NGI.unbind(1), keys_CSGI.unbind(2), strict=True):
            sims_NCS = (index_NI @ keys_CSI.reshape(chunks * size, -1).T).unflatten(1, (chunks, size))
            values_NC, places_NC = sims_NCS.max(-1)
            best.append(values_NC)
            winner.append(places_NC + torch.arange(chunks, device=places_NC.device) * size)
        ctx.fixed = fixed
        ctx.save_for_backward(index_NGI, keys_CSGI, *winner)
        return torch.stack(best, 1)

    @staticmethod
    def backward(ctx, d_NGC: Tensor) -> tuple:  # type: ignore
        index_NGI, keys_CSGI, *winner = ctx.saved_tensors
        chunks, size = keys_CSGI.shape[:2]
        learned = chunks - ctx.fixed
        dindex, dkeys_CSGI = [], torch.zeros_like(keys_CSGI)
        for g, (d_NC, winner_NC) in enumerate(zip(d_NGC.unbind(1), winner, strict=True)):
            keys_MI = keys_CSGI[:, :, g].reshape(chunks * size, -1)
            weights_NC = d_NC.contiguous()
            dindex.append(F.embedding_bag(winner_NC, keys_MI, per_sample_weights=weights_NC, mode="sum"))
            # Few winners among many keys: as a matrix of their gradients it is one product.
            d_NM = d_NC.new_zeros(len(d_NC), learned * size)
            d_NM.scatter_(1, winner_NC[:, :learned], d_NC[:, :learned])
            dkeys_CSGI[:learned, :, g] = (d_NM.T @ index_NGI[:, g]).view(learned, size, -1)
        return torch.stack(dindex, 1), dkeys_CSGI, None


def best_matches(index_NGI: Tensor, keys_CSGI: Tensor, fixed: int = 0) -> Tensor:
    """`best_matches_plain` without an array of all similarities in the backward pass; the last `fixed` chunks are
    searched but not learned."""
    return _BestMatches.apply(index_NGI, keys_CSGI, fixed)


def pair_matches(best_NGC: Tensor) -> Tensor:
    """Matches of every chunk together with the one after it, sharpened: [N, G, C]."""
    following = F.pad(best_NGC[..., 1:], (0, 1))
    return torch.maximum(best_NGC, following).relu() ** SHARPNESS


@dataclass
class Tally:
    """Weighted sums of pair matches so far [B, T, C], and of the weights alone [B, T, 1]."""

    matched_BTC: Tensor
    weight_BT1: Tensor

    @property
    def score_BTC(self) -> Tensor:
        """The average match of every chunk, from 0 to 1; a chunk is as good as the better of its two pairs."""
        pair_BTC = self.matched_BTC / self.weight_BT1
        return torch.maximum(pair_BTC, F.pad(pair_BTC[..., :-1], (1, 0)))


def accumulate(pairs_BTGC: Tensor, queries: Queries) -> Tally:
    """Adds up the pair matches of live tokens, weighted by importance; older ones fade."""
    decay_BT = queries.log_keep_BT.cumsum(1)
    gap_BTT = decay_BT.unsqueeze(2) - decay_BT.unsqueeze(1)
    keep_BTT = gap_BTT.masked_fill(~torch.ones_like(gap_BTT, dtype=torch.bool).tril(), -torch.inf).exp()
    step_BTC = torch.einsum("btgc,btg->btc", pairs_BTGC, queries.weight_BTG)
    matched_BTC = keep_BTT @ step_BTC
    weight_BT1 = keep_BTT @ queries.weight_BTG.sum(-1, keepdim=True)
    return Tally(matched_BTC, weight_BT1)


def go_on(before: Tally | None, pairs_NGC: Tensor, queries: Queries) -> Tally:
    """What `accumulate` has at the last of N more tokens of one sequence, T = 1."""
    decay_N = queries.log_keep_BT[0].cumsum(0)
    keep_1N = (decay_N[-1] - decay_N).exp().unsqueeze(0)
    matched_1C = keep_1N @ torch.einsum("ngc,ng->nc", pairs_NGC, queries.weight_BTG[0])
    weight_11 = keep_1N @ queries.weight_BTG[0].sum(-1, keepdim=True)
    if before is not None:
        fade = decay_N[-1].exp()
        matched_1C = matched_1C + fade * before.matched_BTC[0]
        weight_11 = weight_11 + fade * before.weight_BT1[0]
    return Tally(matched_1C.unsqueeze(0), weight_11.unsqueeze(0))
