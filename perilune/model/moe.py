"""Mixture of experts: a sigmoid router without auxiliary loss, routed experts, one shared expert.

Legend: T tokens, D hidden, E experts, K chosen experts a token, F expert width, G expert groups, R routed rows (T*K).
The loop over experts is the definition; grouped.py serves training, the INT4 kernels serve inference.
Source: DeepSeek-V3 (arXiv 2412.19437), section 2.1.2; published topk_method `noaux_tc`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.kernels import int4_cpu
from perilune.model.grouped import grouped_experts
from perilune.model.layers import SwiGLU, linear


@dataclass(frozen=True)
class Routing:
    """What the router decided: experts and weights [T, K] and, for balancing, every score [T, E]. Experts are also told
    -1, of a pair that is computed elsewhere."""

    ids_TK: Tensor
    weights_TK: Tensor
    scores_TE: Tensor


class Router(nn.Module):
    """Chooses K experts by sigmoid score plus a balance bias; the bias never enters the weights."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))
        # Tests pin the choice so that a near tie cannot hide or fake a fault elsewhere.
        self.pinned_ids_TK: Tensor | None = None

    def forward(self, x_TD: Tensor) -> Routing:
        scores_TE = linear(x_TD.float(), self.weight).sigmoid()
        ids_TK = self.choose(scores_TE.detach()) if self.pinned_ids_TK is None else self.pinned_ids_TK
        weights_TK = scores_TE.gather(1, ids_TK)
        if self.config.norm_topk_prob:
            weights_TK = weights_TK / (weights_TK.sum(-1, keepdim=True) + 1e-20)
        return Routing(ids_TK, weights_TK * self.config.routed_scaling_factor, scores_TE)

    def choose(self, scores_TE: Tensor) -> Tensor:
        """The K best biased scores, with whole groups masked first where the config says so."""
        c = self.config
        biased_TE = scores_TE + self.e_score_correction_bias
        if c.n_group > 1:
            grouped_TGE = biased_TE.unflatten(1, (c.n_group, -1))
            group_score_TG = grouped_TGE.topk(2, dim=-1).values.sum(-1)
            kept_TG = torch.zeros_like(group_score_TG, dtype=torch.bool)
            kept_TG.scatter_(1, group_score_TG.topk(c.topk_group, dim=-1).indices, True)
            biased_TE = grouped_TGE.masked_fill(~kept_TG[:, :, None], -torch.inf).flatten(1)
        return biased_TE.topk(c.num_experts_per_tok, dim=-1).indices


class Experts(nn.Module):
    """Trainable float experts, fused per layer."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        count, dim, hidden = config.n_routed_experts, config.hidden_size, config.moe_intermediate_size
        self.w_gate_EFD = nn.Parameter(torch.empty(count, hidden, dim))
        self.w_up_EFD = nn.Parameter(torch.empty(count, hidden, dim))
        self.w_down_EDF = nn.Parameter(torch.empty(count, dim, hidden))

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        weights = (self.w_gate_EFD, self.w_up_EFD, self.w_down_EDF)
        return grouped_experts(x_TD, routing.ids_TK, routing.weights_TK, *weights)


class StoredExperts(nn.Module):
    """Float experts as a checkpoint holds them: one (gate, up, down) triple each, never copied or fused."""

    def __init__(self, weights: list[tuple[Tensor, Tensor, Tensor]]):
        super().__init__()
        self.weights = weights

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        def swiglu(expert: int, rows_RD: Tensor) -> Tensor:
            gate_FD, up_FD, down_DF = self.weights[expert]
            return linear(F.silu(linear(rows_RD, gate_FD)) * linear(rows_RD, up_FD), down_DF)

        return looped_experts(x_TD, routing, swiglu)


class Int4Experts(nn.Module):
    """Routed experts in the published INT4 layout, read in place by the kernels.

    `table_E6` holds the addresses of (packed, scale) of gate, up and down; `owner` keeps that memory alive.
    `mode` is "int8" (activations rounded to int8 per group of 32) or "float" (exact).
    """

    def __init__(self, config: ModelConfig, table_E6: Tensor, owner: object, mode: str):
        super().__init__()
        self.config, self.table_E6, self.owner, self.mode = config, table_E6, owner, mode

    def lend(self, expert: int) -> Sequence[int] | None:
        """Addresses of an expert's tensors, which stay until it is `returned`; None where it is not in memory."""
        return self.table_E6[expert].tolist()

    def returned(self, expert: int) -> None:
        """What was lent has been copied elsewhere, and is needed less here."""

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        out_TD = int4_cpu.expert_ffn(
            x_TD.detach().contiguous().numpy(),
            routing.ids_TK.contiguous().numpy(),
            routing.weights_TK.detach().contiguous().numpy(),
            self.table_E6.numpy(),
            self.config.hidden_size,
            self.config.moe_intermediate_size,
            self.mode,
        )
        return torch.from_numpy(out_TD)


def looped_experts(x_TD: Tensor, routing: Routing, expert: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The definition: every chosen expert runs on its rows and adds its weighted result."""
    out_TD = torch.zeros_like(x_TD)
    for e in routing.ids_TK[routing.ids_TK >= 0].unique().tolist():
        token_R, slot_R = torch.where(routing.ids_TK == e)
        y_RD = expert(e, x_TD[token_R]) * routing.weights_TK[token_R, slot_R, None]
        out_TD = out_TD.index_add(0, token_R, y_RD)
    return out_TD


class MoE(nn.Module):
    """sum of weighted routed experts + shared expert. `last_routing` keeps the newest decision for the trainer;
    `observe` is told the ids and weights [T, K] of every one."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate = Router(config)
        self.experts: nn.Module = Experts(config)
        self.shared_experts: SwiGLU | None = None
        if config.n_shared_experts:
            hidden = config.moe_intermediate_size * config.n_shared_experts
            self.shared_experts = SwiGLU(config.hidden_size, hidden)
        self.last_routing: Routing | None = None
        self.observe: Callable[[Tensor, Tensor], None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.together([x.reshape(-1, x.shape[-1])])[0].view(x.shape)

    def together(self, parts: list[Tensor]) -> list[Tensor]:
        """Several pieces [T, D]: each as it would be alone, but an expert that many need is gone through once."""
        routings = [self.gate(x_TD) for x_TD in parts]
        self.last_routing = whole = _joined(routings)
        if self.observe is not None:
            self.observe(whole.ids_TK, whole.weights_TK)
        x_TD = torch.cat(parts) if len(parts) > 1 else parts[0]
        made = self.experts(x_TD, whole).split([len(part) for part in parts])
        if self.shared_experts is None:
            return list(made)
        return [out_TD + self.shared_experts(part_TD) for out_TD, part_TD in zip(made, parts, strict=True)]


def _joined(routings: list[Routing]) -> Routing:
    if len(routings) == 1:
        return routings[0]
    columns = zip(*((r.ids_TK, r.weights_TK, r.scores_TE) for r in routings), strict=True)
    return Routing(*(torch.cat(column) for column in columns))
