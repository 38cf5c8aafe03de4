"""The copy head: beside what the head predicts, the token that follows whatever the model points at.

It points at chosen chunks of the memory and at the live tokens of the window, and its gate says how much of the
prediction is a copy. Names, codes and numbers that no vocabulary row has learned come out exactly, and where a token
was copied from is known.

Legend: B rows, T live tokens, D hidden, L latent rank, M gathered memory tokens, P width of the pointer, V vocabulary.
Sources: pointer networks (arXiv 1506.03134); pointer sentinel mixture (arXiv 1609.07843).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.model.layers import Linear
from perilune.model.memory import Chosen


@dataclass
class Pointing:
    """Logits over memory tokens (first) and live tokens [B, T, M+T], the token each stands for [B, 1 or T, M+T] and
    the log-odds of copying [B, T]."""

    logits_BTA: Tensor
    ids_BA: Tensor
    gate_BT: Tensor

    @property
    def log_keep(self) -> Tensor:
        """log of the share that is not copied: [B, T]."""
        return F.logsigmoid(-self.gate_BT)

    def log_copy(self, target_BT: Tensor) -> Tensor:
        """log of (gate · probability that the target is copied): [B, T], finite."""
        hit_BTA = self.ids_BA.unsqueeze(1) == target_BT.unsqueeze(-1)
        some = self.logits_BTA.logsumexp(-1)
        right = self.logits_BTA.masked_fill(~hit_BTA, -torch.inf)
        # A row without any hit must not turn into NaN in the backward pass.
        found_BT = (right > -torch.inf).any(-1)
        right = torch.where(found_BT.unsqueeze(-1), right, torch.zeros_like(right)).logsumexp(-1)
        log_p = torch.where(found_BT, right - some, torch.full_like(some, -30.0))
        return F.logsigmoid(self.gate_BT) + log_p

    def mix(self, logits_BTV: Tensor) -> Tensor:
        """log of the mixture of head and copy: [B, T, V]."""
        weight_BTA = self.logits_BTA.softmax(-1) * self.gate_BT.sigmoid().unsqueeze(-1)
        ids_BTA = self.ids_BA.clamp(min=0).unsqueeze(1).expand_as(weight_BTA)
        p_BTV = logits_BTV.softmax(-1) * (1 - self.gate_BT.sigmoid()).unsqueeze(-1)
        return p_BTV.scatter_add(2, ids_BTA, weight_BTA).clamp(min=1e-30).log()


class CopyHead(nn.Module):
    """Points with the final hidden state and with the token's own latent; keys are latents of the memory."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        memory = config.memory
        assert memory is not None
        self.window = memory.window
        self.key_proj = Linear(memory.latent_rank, memory.copy_dim)
        self.query_proj = Linear(config.hidden_size, memory.copy_dim)
        self.latent_query_proj = Linear(memory.latent_rank, memory.copy_dim)
        self.gate_proj = Linear(config.hidden_size, 1)
        self.gate_bias = nn.Parameter(torch.zeros(1))
        self.chunk_scale = nn.Parameter(torch.zeros(1))
        self.scale = memory.copy_dim**-0.5

    def forward(
        self,
        y_BTD: Tensor,
        latents_BTL: Tensor,
        live_BSL: Tensor,
        live_ids_BS: Tensor,
        seen_BTS: Tensor,
        chosen: Chosen | None,
    ) -> Pointing:
        """`y` is the normed last hidden state, `live` what it may point at besides the chosen chunks.

        `live_ids` are the tokens that follow the live ones; `seen` says which of them a token may point at.
        """
        q_BTP = (self.query_proj(y_BTD) + self.latent_query_proj(latents_BTL)) * self.scale
        live_BTS = q_BTP @ self.key_proj(live_BSL).mT
        logits, ids = live_BTS.masked_fill(~seen_BTS, -torch.inf), live_ids_BS
        if chosen is not None:
            read_ids_BM = chosen.next_ids_BUS.flatten(1)
            read_BHTM = (q_BTP @ self.key_proj(chosen.latents_BML).mT).unsqueeze(1)
            read_BTM = chosen.biased(read_BHTM, self.chunk_scale.float().exp()).squeeze(1)
            read_BTM = read_BTM.masked_fill(read_ids_BM.unsqueeze(1) < 0, -torch.inf)
            logits, ids = torch.cat((read_BTM, logits), -1), torch.cat((read_ids_BM, ids), -1)
        gate_BT = (self.gate_proj(y_BTD) + self.gate_bias.float()).squeeze(-1)
        # Where there is nothing to point at, nothing is copied.
        nothing_BT = ~(logits > -torch.inf).any(-1)
        logits = torch.where(nothing_BT.unsqueeze(-1), torch.zeros_like(logits), logits)
        return Pointing(logits, ids, gate_BT.masked_fill(nothing_BT, -30.0))


def pointable(segments_BT: Tensor | None, length: int, window: int) -> Tensor:
    """Live tokens whose follower is already known: before the token, in its document, within the window. [B|1, T, T]"""
    back_TT = torch.arange(length)[:, None] - torch.arange(length)
    seen = ((back_TT > 0) & (back_TT < window)).unsqueeze(0)
    return seen if segments_BT is None else seen & (segments_BT.unsqueeze(2) == segments_BT.unsqueeze(1))
