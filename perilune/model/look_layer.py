"""A layer of the second look: every place of the chosen chunks looks at its neighbours on both sides and at the
question.

How well the words around a place answer a question (second_look.py) says where to look, not what is asked for. Here a
place learns that: attention to the question's tokens tells it whether a name, a number or a reason is wanted, and
attention to its neighbours what part it has in its sentence.

Legend: B rows, T tokens of the question, K chosen chunks, S tokens of a chunk, M = K * S, W width of the look, L latent
rank, H heads, D width of a head.
Sources: BiDAF (arXiv 1611.01603), BERT for spans (arXiv 1810.04805), T5's relative bias (arXiv 1910.10683).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import LOOK_HEAD_DIM, MemoryConfig
from perilune.model.chosen import Chosen
from perilune.model.layers import Linear, RMSNorm


def _heads(x_BxW: Tensor) -> Tensor:
    """[B, ..., H * D] → [B, ..., H, D]."""
    return x_BxW.unflatten(-1, (-1, LOOK_HEAD_DIM))


class QuestionAttention(nn.Module):
    """What each place finds in the question."""

    def __init__(self, config: MemoryConfig, norm_eps: float):
        super().__init__()
        inner = config.look_heads * LOOK_HEAD_DIM
        self.norm = RMSNorm(config.look_width, norm_eps)
        self.q_proj = Linear(config.look_width, inner)
        self.k_proj = Linear(config.latent_rank, inner)
        self.v_proj = Linear(config.latent_rank, inner)
        self.o_proj = Linear(inner, config.look_width)

    def forward(self, seen_BMW: Tensor, latents_BTL: Tensor, log_keep_BT: Tensor) -> Tensor:
        """`log_keep`: how far a token of the question has faded; -inf where it is none."""
        q_BHMD = _heads(self.q_proj(self.norm(seen_BMW))).transpose(1, 2)
        k_BHTD = _heads(self.k_proj(latents_BTL)).transpose(1, 2)
        v_BHTD = _heads(self.v_proj(latents_BTL)).transpose(1, 2)
        logits_BHMT = q_BHMD @ k_BHTD.mT * LOOK_HEAD_DIM**-0.5 + log_keep_BT[:, None, None]
        return self.o_proj((logits_BHMT.softmax(-1) @ v_BHTD).transpose(1, 2).flatten(2))


class NeighbourAttention(nn.Module):
    """What each place finds within a chunk's length before and after it, as far as the text goes on there."""

    def __init__(self, config: MemoryConfig, norm_eps: float):
        super().__init__()
        inner, size = config.look_heads * LOOK_HEAD_DIM, config.chunk_size
        self.norm = RMSNorm(config.look_width, norm_eps)
        self.qkv_proj = Linear(config.look_width, 3 * inner)
        self.o_proj = Linear(inner, config.look_width)
        self.distance_bias = nn.Parameter(torch.zeros(config.look_heads, 2 * size + 1))

    def forward(self, seen_BMW: Tensor, chosen: Chosen) -> Tensor:
        chunks, size = chosen.ids_BKS.shape[1:]
        qkv = self.qkv_proj(self.norm(seen_BMW)).unflatten(1, (chunks, size)).unflatten(-1, (3, -1)).unbind(-2)
        q_BKHSD, k_BKHSD, v_BKHSD = (_heads(x).transpose(2, 3) for x in qkv)
        bias_BKHSN = self._bias(chosen)
        logits_BKHSN = q_BKHSD @ _threefold(k_BKHSD).mT * LOOK_HEAD_DIM**-0.5 + bias_BKHSN
        mixed_BKHSD = logits_BKHSN.softmax(-1) @ _threefold(v_BKHSD)
        return self.o_proj(mixed_BKHSD.transpose(2, 3).flatten(3).flatten(1, 2))

    def _bias(self, chosen: Chosen) -> Tensor:
        """By distance; -inf for what is too far, in a chunk that does not go on here, or no token. A place that is no
        token sees itself alone. [B, K, H, S, 3 * S]"""
        there_BKS = chosen.ids_BKS >= 0
        size = there_BKS.shape[-1]
        place_N = torch.arange(3 * size, device=there_BKS.device)
        away_SN = place_N - size - place_N[:size].unsqueeze(1)
        bias_HSN = self.distance_bias.float()[:, away_SN.clamp(-size, size) + size]
        bias_HSN = bias_HSN.masked_fill(away_SN.abs() > size, -torch.inf)
        joined_BK = ~chosen.breaks_BM.unflatten(1, there_BKS.shape[1:])[:, :, 0]
        before_BKS = F.pad(there_BKS[:, :-1], (0, 0, 1, 0)) & joined_BK.unsqueeze(-1)
        after_BKS = F.pad(there_BKS[:, 1:] & joined_BK[:, 1:, None], (0, 0, 0, 1))
        seen_BKN = torch.cat((before_BKS, there_BKS, after_BKS), -1)
        hidden_BKSN = ~seen_BKN.unsqueeze(2) & (away_SN != 0)
        return bias_HSN.masked_fill(hidden_BKSN.unsqueeze(2), -torch.inf)


def _threefold(x_BKHSD: Tensor) -> Tensor:
    """Each chunk with the one before it and the one after it in the row: [B, K, H, 3 * S, D]."""
    nothing_B1HSD = torch.zeros_like(x_BKHSD[:, :1])
    before = torch.cat((nothing_B1HSD, x_BKHSD[:, :-1]), 1)
    after = torch.cat((x_BKHSD[:, 1:], nothing_B1HSD), 1)
    return torch.cat((before, x_BKHSD, after), 3)


class LookLayer(nn.Module):
    """Neighbours, the question, and a feed-forward, each added to what is seen so far."""

    def __init__(self, config: MemoryConfig, norm_eps: float):
        super().__init__()
        width = config.look_width
        self.neighbours = NeighbourAttention(config, norm_eps)
        self.question = QuestionAttention(config, norm_eps)
        self.norm = RMSNorm(width, norm_eps)
        self.up_proj = Linear(width, 2 * width)
        self.down_proj = Linear(2 * width, width)

    def forward(self, seen_BMW: Tensor, chosen: Chosen, latents_BTL: Tensor, log_keep_BT: Tensor) -> Tensor:
        seen_BMW = seen_BMW + self.neighbours(seen_BMW, chosen)
        seen_BMW = seen_BMW + self.question(seen_BMW, latents_BTL, log_keep_BT)
        return seen_BMW + self.down_proj(F.silu(self.up_proj(self.norm(seen_BMW))))


@torch.no_grad()
def init_look_layer(layer: LookLayer) -> None:
    """Nothing is added at first; heads begin with near and far neighbours."""
    for proj in (layer.neighbours.o_proj, layer.question.o_proj, layer.down_proj):
        proj.weight.zero_()
    bias_HN = layer.neighbours.distance_bias
    heads, distances = bias_HN.shape
    away_N = (torch.arange(distances) - distances // 2).abs()
    bias_HN.copy_(-away_N / 4.0 ** torch.arange(heads).unsqueeze(1))
