"""A Linear in 8 or 4 bits, made when a model is opened: what every token uses then takes a half or a quarter.

INT8 is symmetric with one scale for each output, which lies behind its row; INT4 is the experts' grid
(weights/int4.py). The published numbers are BF16, so this is a choice of quality for the sake of memory; `weight` gives
the numbers that are really used. Legend: N outputs, D inputs, R outputs padded for the kernels, G groups of 32 inputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.errors import WeightsError
from perilune.kernels import int4_linear_cpu, linear_cpu
from perilune.kernels.tiles import INT8
from perilune.weights import int4

BACKBONES = ("bf16", "int8", "int4")
PIECE = 1 << 24  # numbers made float32 at once: a head of 2 GB never stands whole beside itself


class QuantisedLinear(nn.Module):
    """x @ weight.T from few bits: `words` are int8 rows (linear_cpu.py) or int32 [R, D / 8] beside `scale`."""

    words: Tensor
    scale: Tensor

    def __init__(self, weight_ND: Tensor, bits: int):
        """`bits` is 8 or 4; raises WeightsError for a weight that is not finite."""
        super().__init__()
        self.bits, (self.rows, self.width) = bits, weight_ND.shape
        if bits == 8:
            self.register_buffer(
                "words", torch.zeros(self.rows, linear_cpu.row_bytes(INT8, self.width), dtype=torch.int8)
            )
        else:
            padded = int4_linear_cpu.padded(self.rows)
            self.register_buffer("words", torch.zeros(padded, self.width // 8, dtype=torch.int32))
            self.register_buffer("scale", torch.zeros(padded, self.width // int4.GROUP, dtype=torch.bfloat16))
        step = max(1, PIECE // self.width)
        for start in range(0, self.rows, step):
            part = slice(start, min(start + step, self.rows))
            if bits == 8:
                self.words[part] = _int8(weight_ND[part])
            else:
                self.words[part], self.scale[part] = _int4(weight_ND[part])

    @property
    def weight(self) -> Tensor:
        """What the stored bits say, float32 [N, D]."""
        if self.bits == 8:
            q_ND, scale_N1 = linear_cpu.int8_parts(self.words.numpy())
            return torch.from_numpy(q_ND * scale_N1)
        return int4.dequantize(self.words[: self.rows], self.scale[: self.rows])

    def forward(self, x_TD: Tensor) -> Tensor:
        rows_TD = x_TD.reshape(-1, x_TD.shape[-1]).contiguous().numpy()
        if self.bits == 8:
            y_TN = linear_cpu.linear(rows_TD, self.words.numpy())
        else:
            scale_RG = self.scale.view(torch.uint16).numpy()
            y_TN = int4_linear_cpu.linear_int4(rows_TD, self.words.numpy(), scale_RG, self.rows)
        return torch.from_numpy(y_TN).view(*x_TD.shape[:-1], -1)

    def plain(self, x_TD: Tensor) -> Tensor:
        """The definition."""
        return F.linear(x_TD, self.weight)


def _int8(weight_ND: Tensor) -> Tensor:
    w_ND = weight_ND.float()
    largest_N1 = w_ND.abs().amax(-1, keepdim=True)
    if not bool(torch.isfinite(largest_N1).all()):
        raise WeightsError("a weight that is not finite cannot be quantised")
    scale_N1 = largest_N1 / 127
    q_ND = (w_ND / torch.where(scale_N1 > 0, scale_N1, 1.0)).round_().to(torch.int8)
    return torch.from_numpy(linear_cpu.int8_rows(q_ND.numpy(), scale_N1.numpy()))


def _int4(weight_ND: Tensor) -> tuple[Tensor, Tensor]:
    q_ND, scale_NG = int4.quantize(weight_ND)
    return int4.pack(q_ND), scale_NG


def is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter (by our name) is made small: matrices that every token is multiplied with, but not the
    router, whose near ties decide, nor the table of embeddings, of which a token reads one row."""
    inside = name.startswith("layers.") or name == "lm_head.weight"
    kept = ".mlp.gate." in name or ".experts." in name or not name.endswith(".weight")
    return inside and not kept and len(shape) == 2 and shape[1] % int4.GROUP == 0


def quantised_bytes(shape: tuple[int, ...], backbone: str) -> int:
    """What such a parameter takes in "int8" or "int4"."""
    rows, width = shape
    if backbone == "int8":
        return rows * linear_cpu.row_bytes(INT8, width)
    return int4_linear_cpu.padded(rows) * width * 9 // 16


def quantise(model: nn.Module, name: str, weight_ND: Tensor, backbone: str) -> None:
    """Puts the weight in place of the Linear that has the parameter `name`, in "int8" or "int4"."""
    *path, leaf, _ = name.split(".")
    setattr(model.get_submodule(".".join(path)), leaf, QuantisedLinear(weight_ND, int(backbone.removeprefix("int"))))
