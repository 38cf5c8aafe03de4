"""Keeping experts busy: the bias rule, the small sequence-level loss, and one line that tells their health.

Axes: T tokens, B rows, E experts, K chosen experts a token, L MoE layers.
Source: DeepSeek-V3 (arXiv 2412.19437), section 2.1.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from perilune.model.moe import MoE, Routing


def moe_layers(model: nn.Module) -> list[MoE]:
    return [module for module in model.modules() if isinstance(module, MoE)]


def take_routings(model: nn.Module) -> list[Routing]:
    """The newest routing of every MoE layer; the layers forget them, so that their graph can be freed."""
    routings = []
    for layer in moe_layers(model):
        if layer.last_routing is not None:
            routings.append(layer.last_routing)
        layer.last_routing = None
    return routings


def expert_counts(routings: list[Routing], experts: int) -> Tensor:
    """How often each expert was chosen: [L, E]."""
    counts = [torch.bincount(routing.ids_TK.flatten(), minlength=experts) for routing in routings]
    return torch.stack(counts) if counts else torch.zeros(0, experts, dtype=torch.long)


def sequence_loss(routings: list[Routing], rows: int) -> Tensor:
    """Mean over layers and rows of sum_e f_e P_e; 1 when each row spreads evenly over the experts."""
    losses = []
    for routing in routings:
        experts = routing.scores_TE.shape[1]
        share_TE = routing.scores_TE / routing.scores_TE.sum(-1, keepdim=True)
        hit_TE = torch.zeros_like(share_TE).scatter_(1, routing.ids_TK, 1.0)
        f_BE = hit_TE.view(rows, -1, experts).mean(1) * experts / routing.ids_TK.shape[1]
        p_BE = share_TE.view(rows, -1, experts).mean(1)
        losses.append((f_BE * p_BE).sum(-1).mean())
    return torch.stack(losses).mean() if losses else torch.zeros(())


@torch.no_grad()
def update_biases(model: nn.Module, counts_LE: Tensor, rate: float) -> None:
    """Raise the bias of experts below the mean load by `rate`, lower the others."""
    for layer, counts_E in zip(moe_layers(model), counts_LE.float(), strict=True):
        layer.gate.e_score_correction_bias.add_((counts_E.mean() - counts_E).sign(), alpha=rate)


def health(counts_LE: Tensor) -> dict[str, float]:
    """Worst overload of all layers, share of experts with hardly any, evenness of the load (1 = even)."""
    if not counts_LE.numel():
        return {}
    load_LE = counts_LE.float() / counts_LE.sum(-1, keepdim=True).clamp(min=1)
    experts = load_LE.shape[-1]
    entropy_L = -(load_LE * load_LE.clamp(min=1e-12).log()).sum(-1) / math.log(max(2, experts))
    return {
        "max_violation": float(load_LE.max() * experts - 1),
        "dead_share": float((load_LE * experts < 0.05).float().mean()),
        "load_entropy": float(entropy_L.mean()),
    }
