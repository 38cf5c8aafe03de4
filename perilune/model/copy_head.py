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

from perilune.config import LONGEST_RUN, TOLD_AFTER, ModelConfig
from perilune.kernels import runs as equal
from perilune.kernels import where
from perilune.model.chosen import Chosen
from perilune.model.layers import Linear

BEGIN_FLOOR = 1e-3
RUN_GAIN = 5.0  # so that a table of small numbers learns as fast as the matrices around it


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

    def log_copy(self, target_BT: Tensor, gold_BA: Tensor | None = None) -> Tensor:
        """log of (gate · probability that the target is copied): [B, T], finite.

        `gold` says where the target should be copied from; other places count only where none of these has it.
        """
        hit_BTA = self.ids_BA.unsqueeze(1) == target_BT.unsqueeze(-1)
        if gold_BA is not None:
            right_BTA = hit_BTA & gold_BA.unsqueeze(1)
            hit_BTA = torch.where(right_BTA.any(-1, keepdim=True), right_BTA, hit_BTA)
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


@dataclass
class Lived:
    """Live tokens that T tokens may point at: latents, the tokens that follow them, which of them each one sees, and
    the run of equal tokens that ends there."""

    latents_BSL: Tensor
    next_ids_BS: Tensor
    seen_BTS: Tensor
    runs_BTS: Tensor


@dataclass
class Read:
    """What T tokens read of the memory: the chosen chunks, runs of equal tokens there, what has been told, and what
    has been begun and is being told."""

    chosen: Chosen
    runs_BTM: Tensor
    told_BTM: Tensor
    begun_BTM: Tensor

    @classmethod
    def of(
        cls, chosen: Chosen, runs_BTM: Tensor, told_BM: Tensor | None = None, begun_BM: Tensor | None = None
    ) -> Read:
        """`told` and `begun` are those of the last token before these."""
        return cls(chosen, runs_BTM, chosen.told(runs_BTM, told_BM), chosen.begun(runs_BTM, begun_BM))


class CopyHead(nn.Module):
    """Points with the final hidden state and with the token's own latent; keys are latents of the memory.

    What has been copied word for word so far goes on being copied: runs of equal tokens raise the places where they
    stand, and lower those that have been told already. The gate knows what it would copy.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        memory = config.memory
        assert memory is not None
        self.window = memory.window
        self.placeholder = -2 if config.media_placeholder_token_id is None else config.media_placeholder_token_id
        self.key_proj = Linear(memory.latent_rank, memory.copy_dim)
        self.query_proj = Linear(config.hidden_size, memory.copy_dim)
        self.latent_query_proj = Linear(memory.latent_rank, memory.copy_dim)
        self.left_proj = Linear(2 * len(TOLD_AFTER), config.hidden_size)
        self.span_proj = Linear(2, config.hidden_size)
        self.follow_proj = Linear(config.hidden_size, 2)
        self.follow_bias = nn.Parameter(torch.zeros(2))
        self.gate_proj = Linear(config.hidden_size, 1)
        self.gate_latent_proj = Linear(memory.latent_rank, 1)
        self.gate_bias = nn.Parameter(torch.zeros(1))
        self.gate_run = nn.Parameter(torch.zeros(LONGEST_RUN + 1))
        self.run_bias = nn.Parameter(torch.zeros(LONGEST_RUN + 1))
        self.told_bias = nn.Parameter(torch.zeros(LONGEST_RUN + 1))
        self.chunk_scale = nn.Parameter(torch.zeros(1))
        self.fit_scale = nn.Parameter(torch.zeros(1))
        self.scale = memory.copy_dim**-0.5

    def aware(self, y_BTD: Tensor, read: Read | None) -> Tensor:
        """The normed last hidden state with what is left to tell and what is being told: what head and copy head go
        by."""
        if read is None:
            return y_BTD
        span_BT2 = read.chosen.told_span(read.begun_BTM)
        return y_BTD + self.left_proj(read.chosen.left(read.told_BTM)) + self.span_proj(span_BT2)

    def forward(self, y_BTD: Tensor, latents_BTL: Tensor, live: Lived, read: Read | None) -> Pointing:
        """`y` is the last hidden state that is aware, `live` what it may point at besides the chosen chunks."""
        q_BTP = (self.query_proj(y_BTD) + self.latent_query_proj(latents_BTL)) * self.scale
        live_BTS = q_BTP @ self.key_proj(live.latents_BSL).mT + self._by_run(self.run_bias, live.runs_BTS)
        seen_BTS = live.seen_BTS & self.sayable(live.next_ids_BS).unsqueeze(1)
        logits, ids, runs = live_BTS.masked_fill(~seen_BTS, -torch.inf), live.next_ids_BS, live.runs_BTS
        gate_A = self.gate_latent_proj(live.latents_BSL).squeeze(-1)
        if read is not None:
            chosen, next_ids_BM = read.chosen, read.chosen.next_ids_BM
            bias_B1M = chosen.bias(self.chunk_scale.float().exp(), self.fit_scale.float().exp())
            read_BTM = q_BTP @ self.key_proj(chosen.latents_BML).mT + bias_B1M
            read_BTM = read_BTM + self._by_run(self.run_bias, read.runs_BTM)
            read_BTM = read_BTM + self._by_run(self.told_bias, read.told_BTM)
            read_BTM = read_BTM + self._followed(y_BTD, read)
            read_BTM = read_BTM.masked_fill(next_ids_BM.unsqueeze(1) < 0, -torch.inf)
            logits, ids = torch.cat((read_BTM, logits), -1), torch.cat((next_ids_BM, ids), -1)
            runs = torch.cat((read.runs_BTM, runs), -1)
            gate_A = torch.cat((self.gate_latent_proj(chosen.latents_BML).squeeze(-1), gate_A), -1)
        # Where there is nothing to point at, nothing is copied.
        nothing_BT = ~(logits > -torch.inf).any(-1)
        logits = torch.where(nothing_BT.unsqueeze(-1), torch.zeros_like(logits), logits)
        p_BTA = logits.softmax(-1)
        about_BT = (p_BTA @ gate_A.unsqueeze(-1)).squeeze(-1) + (p_BTA * self._by_run(self.gate_run, runs)).sum(-1)
        gate_BT = self.gate_proj(y_BTD).squeeze(-1) + self.gate_bias.float() + about_BT
        return Pointing(logits, ids, gate_BT.masked_fill(nothing_BT, -30.0))

    def sayable(self, ids: Tensor) -> Tensor:
        """False for placeholders of media: what stands there is seen or heard, and no token says it."""
        return ids != self.placeholder

    def _followed(self, y_BTD: Tensor, read: Read) -> Tensor:
        """Places where what answers begins, and those up to which it is told, as far as the token wants either."""
        wanted_BT2 = self.follow_proj(y_BTD) + self.follow_bias.float()
        begin_B1M = (read.chosen.begin_BM.unsqueeze(1) / BEGIN_FLOOR).log1p()
        begun_BTM = (read.begun_BTM / BEGIN_FLOOR).log1p()
        return wanted_BT2[..., :1] * begin_B1M + wanted_BT2[..., 1:] * begun_BTM

    def _by_run(self, table: Tensor, runs: Tensor) -> Tensor:
        return _LookUp.apply(self.by_run(table), runs)

    @staticmethod
    def by_run(table: Tensor) -> Tensor:
        """What each length of a run is worth."""
        return table.float() * RUN_GAIN


class _LookUp(torch.autograd.Function):
    """table[index] for millions of indices into a handful of values: the backward pass only adds up."""

    @staticmethod
    def forward(ctx, table_N: Tensor, index: Tensor) -> Tensor:  # type: ignore
        ctx.save_for_backward(index)
        ctx.size = table_N.shape[0]
        return table_N[index.int()]

    @staticmethod
    def backward(ctx, d: Tensor) -> tuple:  # type: ignore
        (index,) = ctx.saved_tensors
        if where.on_cpu(d):
            return torch.bincount(index.flatten(), d.flatten(), ctx.size).float(), None
        # There thousands of threads would wait for one another to add to the same few numbers.
        return torch.stack([(d * (index == n)).sum() for n in range(ctx.size)]), None


def pointable(segments_BT: Tensor | None, length: int, window: int, device: torch.device | None = None) -> Tensor:
    """Live tokens whose follower is already known: before the token, in its document, within the window. [B|1, T, T]"""
    time_T = torch.arange(length, device=device)
    back_TT = time_T[:, None] - time_T
    seen = ((back_TT > 0) & (back_TT < window)).unsqueeze(0)
    return seen if segments_BT is None else seen & (segments_BT.unsqueeze(2) == segments_BT.unsqueeze(1))


def live_runs(ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
    """Runs of equal tokens within whole rows, which do not reach back into another document: [B, T, T]."""
    breaks_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    if segments_BT is not None:
        breaks_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return equal.equal_runs(ids_BT, ids_BT, breaks_BT, LONGEST_RUN)
