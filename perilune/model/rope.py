"""Rotary position embedding with YaRN, as the DeepSeek-V3 family applies it to the rope part of each head.

Legend: T tokens, R rope dimensions, P = R/2 frequency pairs. Trailing letters of tensor names are their axes.
Source: YaRN (arXiv 2309.00071); DeepSeek-V3 (arXiv 2412.19437).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perilune.config import RopeConfig


def inverse_frequencies(rope: RopeConfig, rope_dim: int) -> Tensor:
    """Angular step per position of every frequency pair: float32 [P].

    Without YaRN this is theta^(-2i/R). With it, slow pairs are stretched by `factor`, fast pairs are kept, and a
    linear ramp between the pairs that turn `beta_fast` and `beta_slow` times in the original context joins them.
    """
    pair_P = torch.arange(0, rope_dim, 2, dtype=torch.float32) / rope_dim
    base_P = 1.0 / (rope.theta**pair_P)
    if not rope.is_yarn:
        return base_P
    low = math.floor(_pair_with_turns(rope, rope_dim, rope.beta_fast))
    high = math.ceil(_pair_with_turns(rope, rope_dim, rope.beta_slow))
    low, high = max(low, 0), min(high, rope_dim - 1)
    # Equal bounds would divide by zero; the published code widens them by the same amount.
    span = (high - low) or 0.001
    ramp_P = ((torch.arange(rope_dim // 2, dtype=torch.float32) - low) / span).clamp(0, 1)
    return base_P / rope.factor * ramp_P + base_P * (1 - ramp_P)


def _pair_with_turns(rope: RopeConfig, rope_dim: int, turns: float) -> float:
    context = rope.original_max_position_embeddings
    return rope_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))


class RotaryTable:
    """cos and sin for any position, computed once and grown by doubling. Not a module: it holds no weights."""

    def __init__(self, rope: RopeConfig, rope_dim: int):
        self.rope, self.rope_dim = rope, rope_dim
        self.device = torch.device("cpu")  # where the tables are needed; they are computed on the CPU alike
        self._cos_TP: Tensor | None = None
        self._sin_TP: Tensor | None = None

    def move(self, device: torch.device) -> None:
        """The tables are needed there from now on."""
        self.device, self._cos_TP, self._sin_TP = device, None, None

    def up_to(self, length: int) -> tuple[Tensor, Tensor]:
        """(cos, sin), each float32 [at least `length`, P]."""
        have = 0 if self._cos_TP is None else self._cos_TP.shape[0]
        if self._cos_TP is None or self._sin_TP is None or length > have:
            size = max(256, 2 * have, length)
            frequencies_P = inverse_frequencies(self.rope, self.rope_dim)
            angle_TP = torch.arange(size, dtype=torch.float32)[:, None] * frequencies_P
            self._cos_TP = (angle_TP.cos() * self.rope.attention_factor).to(self.device)
            self._sin_TP = (angle_TP.sin() * self.rope.attention_factor).to(self.device)
        return self._cos_TP, self._sin_TP


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleave: bool = True) -> Tensor:
    """Rotate the last axis [..., R] by cos and sin [..., P] that broadcast over the leading axes.

    Published checkpoints of this family pair neighbours (2i, 2i+1); `interleave=False` pairs (i, i + R/2).
    The order of the dimensions is kept, so a rotated key can lie in the cache beside any other.
    """
    if interleave:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
