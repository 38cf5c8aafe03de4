"""Kimi Delta Attention (KDA): a layer whose memory is one matrix per head, however long the text.

Each channel of a key forgets at its own rate; the delta rule (delta_rule.py) corrects what the matrix recalls instead
of adding to it. Source: Kimi Linear (arXiv 2510.26692); names as in the published checkpoints.

Legend: B batch, T tokens, D hidden, H heads, K = V head width, W = H * K, X taps of the short convolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.kernels import where
from perilune.kernels.delta_cpu import delta_steps
from perilune.model.delta_rule import delta_chunked, delta_recurrent, document_runs
from perilune.model.layers import Linear, RMSNorm, steady_sigmoid

GATES = ("softplus", "sigmoid")
UNIT_EPS = 1e-6  # below the root of x / sqrt(sum x² + eps), as published
CHUNKED_FROM = 16  # shorter reads (one token of decoding) take the recurrence itself
# Rows go through in groups of about so many tokens. Beyond it, tensors are so big that the allocator fetches fresh
# pages for each of them, which costs more than the arithmetic.
GROUP_TOKENS = 4096


@dataclass
class DeltaState:
    """What one KDA layer has left behind of B sequences: of the document each of them is in, and of nothing before."""

    conv_BWK: Tensor  # float32 [B, 3W, X-1]: the last inputs of the q, k and v convolutions, oldest first
    matrix_BHKV: Tensor  # float32

    @property
    def nbytes(self) -> int:
        return self.conv_BWK.nbytes + self.matrix_BHKV.nbytes

    def clone(self) -> DeltaState:
        """An independent copy."""
        return DeltaState(self.conv_BWK.clone(), self.matrix_BHKV.clone())


class DepthwiseTaps(nn.Module):
    """The weight of a convolution in which every channel sees only itself; q, k and v run as one, see short_conv."""

    def __init__(self, channels: int, taps: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, taps))


class KimiDeltaAttention(nn.Module):
    """One KDA layer. `forward` reads any number of tokens after a state, so it also decodes."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_dim: int,
        conv_size: int,
        norm_eps: float,
        gate: str = "softplus",
        lower_bound: float = -5.0,
    ):
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate is {gate!r}; it must be one of {', '.join(GATES)}")
        if lower_bound >= 0:
            raise ValueError(f"lower_bound is {lower_bound}; a decay's logarithm is bounded by a negative number")
        self.num_heads, self.head_dim, self.conv_size = num_heads, head_dim, conv_size
        self.gate, self.lower_bound = gate, lower_bound
        wide = num_heads * head_dim
        self.q_proj = Linear(hidden_size, wide)
        self.k_proj = Linear(hidden_size, wide)
        self.v_proj = Linear(hidden_size, wide)
        self.q_conv1d = DepthwiseTaps(wide, conv_size)
        self.k_conv1d = DepthwiseTaps(wide, conv_size)
        self.v_conv1d = DepthwiseTaps(wide, conv_size)
        self.f_a_proj = Linear(hidden_size, head_dim)
        self.f_b_proj = Linear(head_dim, wide)
        self.g_a_proj = Linear(hidden_size, head_dim)
        self.g_b_proj = Linear(head_dim, wide)
        self.dt_bias = nn.Parameter(torch.empty(wide))
        self.A_log = nn.Parameter(torch.empty(1, 1, num_heads, 1))
        self.b_proj = Linear(hidden_size, num_heads)
        self.o_norm = RMSNorm(head_dim, norm_eps)
        self.o_proj = Linear(wide, hidden_size)

    def new_state(self, batch: int = 1) -> DeltaState:
        """Nothing read yet."""
        wide, device = self.num_heads * self.head_dim, self.dt_bias.device
        return DeltaState(
            torch.zeros(batch, 3 * wide, self.conv_size - 1, device=device),
            torch.zeros(batch, self.num_heads, self.head_dim, self.head_dim, device=device),
        )

    def forward(
        self, x_BTD: Tensor, segments_BT: Tensor | None = None, state: DeltaState | None = None
    ) -> tuple[Tensor, DeltaState]:
        """Reads T tokens after `state`, which belongs to the document of token 0; a new state comes back.

        `segments_BT` numbers the documents packed into a row: nothing passes from one to the next.
        """
        state = self.new_state(x_BTD.shape[0]) if state is None else state
        rows = max(1, GROUP_TOKENS // x_BTD.shape[1])
        if x_BTD.shape[0] <= rows or not where.on_cpu(x_BTD):
            return self.read(x_BTD, segments_BT, state)
        groups = zip(
            x_BTD.split(rows),
            repeat(None) if segments_BT is None else segments_BT.split(rows),
            state.conv_BWK.split(rows),
            state.matrix_BHKV.split(rows),
            strict=False,
        )
        parts = [self.read(x, segments, DeltaState(conv, matrix)) for x, segments, conv, matrix in groups]
        outputs, states = zip(*parts, strict=True)
        conv_BWK = torch.cat([part.conv_BWK for part in states])
        return torch.cat(outputs), DeltaState(conv_BWK, torch.cat([part.matrix_BHKV for part in states]))

    def read(self, x_BTD: Tensor, segments_BT: Tensor | None, state: DeltaState) -> tuple[Tensor, DeltaState]:
        """`forward` of rows few enough to go through at once."""
        runs_BT = None if segments_BT is None else document_runs(segments_BT)
        q, k, v, conv_BWK = self.queries_keys_values(x_BTD, state.conv_BWK, runs_BT)
        beta_BTH = steady_sigmoid(self.b_proj(x_BTD))
        log_decay_BTHK = self.log_decay(x_BTD)
        if x_BTD.shape[1] >= CHUNKED_FROM:
            o_BTHV, matrix_BHKV = delta_chunked(q, k, v, log_decay_BTHK, beta_BTH, state.matrix_BHKV, segments_BT)
        elif segments_BT is None and not torch.is_grad_enabled() and where.on_cpu(x_BTD):
            inputs = (x.numpy() for x in (q, k, v, log_decay_BTHK.exp(), beta_BTH, state.matrix_BHKV))
            o_BTHV, matrix_BHKV = map(torch.from_numpy, delta_steps(*inputs))
        else:
            o_BTHV, matrix_BHKV = delta_recurrent(q, k, v, log_decay_BTHK, beta_BTH, state.matrix_BHKV, segments_BT)
        opened_BTW = self.g_b_proj(self.g_a_proj(x_BTD)).sigmoid()
        y_BTD = self.o_proj(self.o_norm(o_BTHV).flatten(2) * opened_BTW)
        return y_BTD, DeltaState(conv_BWK, matrix_BHKV)

    def queries_keys_values(
        self, x_BTD: Tensor, conv_BWK: Tensor, runs_BT: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k and v [B, T, H, K], and the inputs that the next read's convolutions look back at."""
        mixed_BTW = torch.cat((self.q_proj(x_BTD), self.k_proj(x_BTD), self.v_proj(x_BTD)), dim=-1)
        taps_WX = torch.cat([conv.weight.float().squeeze(1) for conv in (self.q_conv1d, self.k_conv1d, self.v_conv1d)])
        mixed_BTW, conv_BWK = short_conv(mixed_BTW, taps_WX, conv_BWK, runs_BT)
        heads = F.silu(mixed_BTW).unflatten(-1, (3, self.num_heads, self.head_dim))
        q_BTHK, k_BTHK, v_BTHV = heads.unbind(2)
        return unit(q_BTHK) * self.head_dim**-0.5, unit(k_BTHK), v_BTHV, conv_BWK

    def log_decay(self, x_BTD: Tensor) -> Tensor:
        """g <= 0, the logarithm of what each channel of each head keeps: [B, T, H, K]"""
        raw_BTHK = (self.f_b_proj(self.f_a_proj(x_BTD)) + self.dt_bias.float()).unflatten(-1, (self.num_heads, -1))
        rate = self.A_log.float().exp()
        if self.gate == "softplus":
            return F.softplus(raw_BTHK) * -rate
        return torch.sigmoid(raw_BTHK * rate) * self.lower_bound


def unit(x_BTHK: Tensor) -> Tensor:
    """Length one along the last axis."""
    return x_BTHK * torch.rsqrt(x_BTHK.square().sum(-1, keepdim=True) + UNIT_EPS)


def short_conv(x_BTW: Tensor, taps_WX: Tensor, before_BWK: Tensor, runs_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """y_t = Σ_j taps[j] x_{t-(X-1)+j}, over the inputs of t's own document, and the last X-1 inputs of the last one.

    `before_BWK` are the inputs before token 0, in its document; `runs_BT` counts the row's documents from 0.
    """
    length, back = x_BTW.shape[1], taps_WX.shape[1] - 1
    x_BSW = torch.cat((before_BWK.mT, x_BTW), dim=1)
    if runs_BT is None:
        y_BTW = sum_of_taps(x_BSW, taps_WX, length)
        return y_BTW, x_BSW[:, length:].mT.clone()  # a view would keep all of x alive
    runs_BS = F.pad(runs_BT, (back, 0))
    y_BTW = x_BTW * taps_WX[:, back]
    for j in range(back):
        same_BT = runs_BS[:, j : j + length] == runs_BT
        y_BTW = y_BTW + (x_BSW[:, j : j + length] * same_BT[..., None]) * taps_WX[:, j]
    kept_BK = runs_BS[:, length:] == runs_BT[:, -1:]
    return y_BTW, (x_BSW[:, length:] * kept_BK[..., None]).mT


def sum_of_taps(x_BSW: Tensor, taps_WX: Tensor, length: int) -> Tensor:
    y_BTW = x_BSW[:, :length] * taps_WX[:, 0]
    for j in range(1, taps_WX.shape[1]):
        y_BTW = torch.addcmul(y_BTW, x_BSW[:, j : j + length], taps_WX[:, j])
    return y_BTW


@torch.no_grad()
def init_delta(layer: KimiDeltaAttention, generator: torch.Generator) -> None:
    """Start of training for what is not a matrix: decay rates, and convolutions that begin as almost nothing.

    Half-lives spread evenly on a logarithmic scale over the channels of each head, from 1 to 500 tokens.
    """
    half_life_K = torch.logspace(0.0, math.log10(500.0), layer.head_dim)
    decay_HK = (math.log(2.0) / half_life_K).expand(layer.num_heads, -1)
    if layer.gate == "softplus":
        rate_H1 = torch.empty(layer.num_heads, 1).uniform_(1.0, 16.0, generator=generator)
        layer.A_log.copy_(rate_H1.log().view_as(layer.A_log))
        softplus_HK = decay_HK / rate_H1
        bias_HK = softplus_HK + torch.log(-torch.expm1(-softplus_HK))
    else:
        layer.A_log.zero_()
        bias_HK = torch.logit(decay_HK / -layer.lower_bound)
    layer.dt_bias.copy_(bias_HK.flatten())
    for conv in (layer.q_conv1d, layer.k_conv1d, layer.v_conv1d):
        conv.weight.normal_(0.0, 0.02, generator=generator)
        conv.weight[..., -1] += 1.0
    layer.o_norm.weight.fill_(1.0)
