"""The one INT4 grid: symmetric groups of 32 along the input, as published.

A stored nibble is q + 8 with q in -8..7; eight nibbles per int32, the lowest bits first.
Scale rule: the smallest scale that clips nothing, max(largest / 7, -smallest / 8), rounded to bfloat16.
It uses the whole range -8..7 and is a fixed point: quantising a dequantised tensor gives it back.

Shapes: N out features, K in features, G = K / 32 groups; any leading dimensions are kept.
"""

from __future__ import annotations

from typing import Any

import torch

from perilune.errors import WeightsError

GROUP = 32
NIBBLES_PER_WORD = 8


def _check_width(width: int, multiple: int, what: str) -> None:
    if width % multiple or width == 0:
        raise WeightsError(f"{what} has {width} columns; INT4 needs a multiple of {multiple}")


def pack(q_NK: torch.Tensor) -> torch.Tensor:
    """int8 values in -8..7 → int32 words, one eighth as wide."""
    _check_width(q_NK.shape[-1], NIBBLES_PER_WORD, "the tensor")
    if q_NK.numel() and (int(q_NK.min()) < -8 or int(q_NK.max()) > 7):
        raise WeightsError("INT4 values must be from -8 to 7")
    nibbles = (q_NK + 8).to(torch.uint8)
    bytes_NB = nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)
    return bytes_NB.contiguous().view(torch.int32)


def unpack(packed_NW: torch.Tensor) -> torch.Tensor:
    """int32 words → int8 values in -8..7, eight times as wide."""
    bytes_NB = packed_NW.contiguous().view(torch.uint8)
    pairs = torch.stack((bytes_NB & 15, bytes_NB >> 4), dim=-1)
    return pairs.flatten(-2).to(torch.int8) - 8


def _groups(w_NK: torch.Tensor) -> torch.Tensor:
    return w_NK.unflatten(-1, (-1, GROUP))


def _scale_NG1(w_NGg: torch.Tensor) -> torch.Tensor:
    """float32 numbers that bfloat16 can hold exactly; 0 for a group of zeros."""
    low, high = torch.aminmax(w_NGg, dim=-1, keepdim=True)
    return torch.maximum(high / 7, low / -8).to(torch.bfloat16).float()


def _round_NGg(w_NGg: torch.Tensor, scale_NG1: torch.Tensor) -> torch.Tensor:
    safe = torch.where(scale_NG1 > 0, scale_NG1, 1.0)
    return (w_NGg / safe).round_().clamp_(-8, 7)


def quantize(w_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float weights → (int8 q [..., N, K], bfloat16 scale [..., N, G]); pack(q) is what a file holds."""
    _check_width(w_NK.shape[-1], GROUP, "the weight")
    w_NGg = _groups(w_NK.detach().float())
    if not bool(torch.isfinite(w_NGg).all()):
        raise WeightsError("a weight that is not finite cannot be quantised")
    scale = _scale_NG1(w_NGg)
    q = _round_NGg(w_NGg, scale).to(torch.int8)
    return q.flatten(-2), scale.squeeze(-1).to(torch.bfloat16)


def dequantize(packed_NW: torch.Tensor, scale_NG: torch.Tensor) -> torch.Tensor:
    """(int32 words, scale) → float32 weights [..., N, K]."""
    q_NGg = _groups(unpack(packed_NW).float())
    return (q_NGg * scale_NG.float().unsqueeze(-1)).flatten(-2)


def word_table(device: torch.device) -> torch.Tensor:
    """int64 [65536]: the four nibbles of an int16, by its value as an index, as four bfloat16 numbers."""
    halves = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)  # index -1 is the last entry, as 0xFFFF is
    return unpack(halves[:, None]).bfloat16().view(torch.int64).flatten().to(device)


def dequantize_by_table(half_NH: torch.Tensor, scale_NG: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """`dequantize`, with the same bits, of words seen as int16, in fewer passes over memory: the form for a GPU."""
    q_NGg = _groups(table[half_NH.long()].view(torch.bfloat16))
    return (q_NGg * scale_NG.float().unsqueeze(-1)).flatten(-2)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w_NK: torch.Tensor) -> torch.Tensor:
        w_NGg = _groups(w_NK.float())
        scale = _scale_NG1(w_NGg)
        return _round_NGg(w_NGg, scale).mul_(scale).flatten(-2).to(w_NK.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0]


def fake_quantize(w_NK: torch.Tensor) -> torch.Tensor:
    """What the weights will be after quantize and dequantize; the gradient passes straight through."""
    _check_width(w_NK.shape[-1], GROUP, "the weight")
    return _StraightThrough.apply(w_NK)
