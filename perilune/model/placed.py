"""A model with a GPU: what every token uses lies there, and so do the routed experts that are used most.

The network is the plain one of model.py with its weights on the device; only routed experts are divided. Of a token's
experts the device multiplies those that it holds, and the host, meanwhile, all others with its own kernels, from memory
or disk. The published INT4 weights are exact on both sides, activations and sums are float32 (where experts compute in
"int8", both round activations alike). What differs with the place of an expert is the order of additions, so logits
agree to a few units in the last places of float32, not bit for bit. The same requests in the same order give the same
places; `DeviceSlots.frozen` ends all moves, and from then on a request's places do not depend on those before it.

Legend: T tokens, D hidden, K chosen experts a token, F expert width, R rows of one expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.errors import ConfigError
from perilune.model.layers import linear
from perilune.model.moe import Int4Experts, Routing
from perilune.weights import int4
from perilune.weights.device_slots import DeviceSlots


@dataclass(frozen=True)
class Placement:
    """The device that holds the weights that every token uses, and how many routed experts beside them."""

    device: torch.device
    slots: int = 0


def check_placeable(config: ModelConfig, backbone: str) -> None:
    """Raises ConfigError for what runs on a CPU only."""
    if config.memory is not None or config.linear_attention is not None:
        raise ConfigError(
            "a GPU takes models of latent attention alone, and this one has other layers; leave --gpu out"
        )
    if backbone != "bf16":
        raise ConfigError(f"a GPU keeps the backbone as published; --backbone {backbone} is for the memory of a CPU")


class PlacedExperts(nn.Module):
    """The routed experts of a layer: some in slots of the device, the others with `host`, which knows all of them."""

    def __init__(self, host: nn.Module, slots: DeviceSlots | None, layer: int):
        super().__init__()
        self.host, self.layer = host, layer
        self.slots = slots if isinstance(host, Int4Experts) else None
        self.rounds = isinstance(host, Int4Experts) and host.mode == "int8"

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        ids_TK, weights_TK, x_host_TD = (t.cpu() for t in (routing.ids_TK, routing.weights_TK, x_TD))
        if self.slots is None or not isinstance(self.host, Int4Experts):
            return self.host(x_host_TD, Routing(ids_TK, weights_TK, routing.scores_TE)).to(x_TD.device)
        here = self.slots.here(self.layer)
        experts, counts = ids_TK.unique(return_counts=True)
        uses = dict(zip(experts.tolist(), counts.tolist(), strict=True))
        out_TD = torch.zeros_like(x_TD)
        # Kernels of the device only queue up here; it works while the host does.
        for expert in (e for e in uses if e in here):
            token_R, choice_R = (index.to(x_TD.device) for index in torch.where(ids_TK == expert))
            y_RD = self._swiglu(x_TD[token_R], here[expert]) * routing.weights_TK[token_R, choice_R, None]
            out_TD.index_add_(0, token_R, y_RD)
            ids_TK = ids_TK.masked_fill(ids_TK == expert, -1)
        if bool((ids_TK >= 0).any()):
            out_TD += self.host(x_host_TD, Routing(ids_TK, weights_TK, routing.scores_TE)).to(x_TD.device)
        self.slots.used(self.layer, uses, self.host.lend, self.host.returned)
        return out_TD

    def _swiglu(self, x_RD: Tensor, slot: int) -> Tensor:
        assert self.slots is not None
        if self.rounds:
            x_RD = rounded(x_RD)
        gate_RF = linear(x_RD, self.slots.matrix(slot, 0))
        hidden_RF = F.silu(gate_RF).mul_(linear(x_RD, self.slots.matrix(slot, 1)))
        return linear(rounded(hidden_RF) if self.rounds else hidden_RF, self.slots.matrix(slot, 2))


def rounded(x_RD: Tensor) -> Tensor:
    """Activations as "int8" has them: int8 per group of 32 with the scale absmax / 127."""
    groups = x_RD.unflatten(-1, (-1, int4.GROUP))
    scale = groups.abs().amax(-1, keepdim=True) / 127
    return ((groups / torch.where(scale > 0, scale, 1.0)).round_() * scale).flatten(-2)
