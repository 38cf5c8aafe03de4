"""Routed experts in training: rows sorted by expert, with a backward pass written by hand.

Autograd over the plain loop copies every weight gradient into a zero tensor of all experts and keeps six
arrays a row; here each matrix product writes straight into its place and three arrays are kept. A GPU multiplies all
experts at once, in bfloat16.

Legend: T tokens, D hidden, E experts, K chosen experts a token, F expert width, R routed rows (T*K).
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from perilune.kernels import where


class _GroupedExperts(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore
        ctx, x_TD: Tensor, ids_TK: Tensor, w_TK: Tensor, gate_EFD: Tensor, up_EFD: Tensor, down_EDF: Tensor
    ) -> Tensor:
        order_R = ids_TK.flatten().argsort(stable=True)
        token_R = order_R // ids_TK.shape[1]
        counts = torch.bincount(ids_TK.flatten(), minlength=gate_EFD.shape[0]).tolist()
        x_RD = x_TD.index_select(0, token_R)
        gate_RF, up_RF = x_RD.new_empty(2, len(token_R), gate_EFD.shape[1])
        y_RD = torch.empty_like(x_RD)
        for rows, gate_FD, up_FD in zip(_slices(counts), gate_EFD, up_EFD, strict=True):
            torch.mm(x_RD[rows], gate_FD.T, out=gate_RF[rows])
            torch.mm(x_RD[rows], up_FD.T, out=up_RF[rows])
        h_RF = F.silu(gate_RF).mul_(up_RF).mul_(w_TK.flatten()[order_R, None])
        for rows, down_DF in zip(_slices(counts), down_EDF, strict=True):
            torch.mm(h_RF[rows], down_DF.T, out=y_RD[rows])
        ctx.save_for_backward(x_RD, gate_RF, up_RF, h_RF, order_R, token_R, w_TK, gate_EFD, up_EFD, down_EDF)
        ctx.counts = counts
        return torch.zeros_like(x_TD).index_add_(0, token_R, y_RD)

    @staticmethod
    def backward(ctx, dy_TD: Tensor) -> tuple:  # type: ignore
        x_RD, gate_RF, up_RF, h_RF, order_R, token_R, w_TK, gate_EFD, up_EFD, down_EDF = ctx.saved_tensors
        dgate_EFD, dup_EFD, ddown_EDF = map(torch.empty_like, (gate_EFD, up_EFD, down_EDF))
        dy_RD = dy_TD.index_select(0, token_R)
        dh_RF, dx_RD = torch.empty_like(h_RF), torch.empty_like(x_RD)
        for e, rows in enumerate(_slices(ctx.counts)):
            torch.mm(dy_RD[rows], down_EDF[e], out=dh_RF[rows])
            torch.mm(dy_RD[rows].T, h_RF[rows], out=ddown_EDF[e])
        sigmoid_RF = gate_RF.sigmoid()
        silu_RF = gate_RF * sigmoid_RF
        dup_RF = dh_RF * silu_RF
        dw_R = (dup_RF * up_RF).sum(-1)
        w_R1 = w_TK.flatten()[order_R, None]
        dup_RF.mul_(w_R1)
        # silu' = sigmoid + silu (1 - sigmoid)
        slope_RF = sigmoid_RF.addcmul_(silu_RF, 1 - sigmoid_RF)
        dgate_RF = dh_RF.mul_(up_RF).mul_(slope_RF).mul_(w_R1)
        for e, rows in enumerate(_slices(ctx.counts)):
            torch.mm(dgate_RF[rows], gate_EFD[e], out=dx_RD[rows]).addmm_(dup_RF[rows], up_EFD[e])
            torch.mm(dgate_RF[rows].T, x_RD[rows], out=dgate_EFD[e])
            torch.mm(dup_RF[rows].T, x_RD[rows], out=dup_EFD[e])
        dx_TD = torch.zeros_like(dy_TD).index_add_(0, token_R, dx_RD)
        dw_TK = torch.empty_like(dw_R).index_copy_(0, order_R, dw_R).view_as(w_TK)
        return dx_TD, None, dw_TK, dgate_EFD, dup_EFD, ddown_EDF


def grouped_experts(
    x_TD: Tensor, ids_TK: Tensor, w_TK: Tensor, gate_EFD: Tensor, up_EFD: Tensor, down_EDF: Tensor
) -> Tensor:
    """Sum over the chosen experts of weight · down(silu(gate(x)) · up(x)): [T, D]."""
    if where.on_cpu(x_TD):
        return _GroupedExperts.apply(x_TD, ids_TK, w_TK, gate_EFD, up_EFD, down_EDF)
    return grouped_products(x_TD, ids_TK, w_TK, gate_EFD, up_EFD, down_EDF)


def grouped_products(
    x_TD: Tensor, ids_TK: Tensor, w_TK: Tensor, gate_EFD: Tensor, up_EFD: Tensor, down_EDF: Tensor
) -> Tensor:
    """The same in two products for all experts, whose inputs and results are rounded to bfloat16."""
    expert_E = torch.arange(len(gate_EFD), device=ids_TK.device)
    ends_E = (ids_TK.flatten() == expert_E.unsqueeze(1)).sum(1).cumsum(0).int()
    order_R = ids_TK.flatten().argsort(stable=True)
    x_RD = x_TD.index_select(0, order_R // ids_TK.shape[1]).bfloat16()
    both_EXD = torch.cat((gate_EFD, up_EFD), 1).bfloat16()
    gate_RF, up_RF = F.grouped_mm(x_RD, both_EXD.mT, offs=ends_E).float().chunk(2, -1)
    h_RF = F.silu(gate_RF) * up_RF * w_TK.flatten().index_select(0, order_R).unsqueeze(1)
    y_RD = F.grouped_mm(h_RF.bfloat16(), down_EDF.bfloat16().mT, offs=ends_E).float()
    place_R = torch.empty_like(order_R).scatter_(0, order_R, torch.arange(len(order_R), device=order_R.device))
    return y_RD.index_select(0, place_R).unflatten(0, ids_TK.shape).sum(1)


def _slices(counts: list[int]) -> list[slice]:
    return [slice(end - count, end) for end, count in zip(accumulate(counts), counts, strict=True)]
