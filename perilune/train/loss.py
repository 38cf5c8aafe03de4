"""Cross-entropy of many tokens over a large vocabulary without ever holding all logits.

Loss and both gradients are made in one pass over chunks of tokens, so each chunk of logits is computed once
and dropped. Axes: N tokens, D width, V vocabulary.
"""

import torch
from torch import Tensor

CHUNK = 512


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_ND: Tensor, head_VD: Tensor, target_N: Tensor, z_weight: float) -> Tensor:  # type: ignore
        wants = any(ctx.needs_input_grad)
        total = x_ND.new_zeros(())
        dx_ND = torch.empty_like(x_ND)
        dhead_VD = torch.zeros_like(head_VD)
        for begin in range(0, x_ND.shape[0], CHUNK):
            rows = slice(begin, begin + CHUNK)
            p_NV = x_ND[rows] @ head_VD.mT
            target_N1 = target_N[rows, None]
            largest_N1 = p_NV.amax(dim=-1, keepdim=True)
            hit_N1 = p_NV.gather(1, target_N1) - largest_N1
            sum_N1 = p_NV.sub_(largest_N1).exp_().sum(dim=-1, keepdim=True)
            log_sum_N1 = sum_N1.log()
            log_z_N1 = log_sum_N1 + largest_N1
            total += (log_sum_N1 - hit_N1).sum() + z_weight * log_z_N1.square().sum()
            if not wants:
                continue
            p_NV.mul_((1 + 2 * z_weight * log_z_N1) / sum_N1)
            p_NV.scatter_add_(1, target_N1, p_NV.new_full((1, 1), -1.0).expand_as(target_N1))
            torch.mm(p_NV, head_VD, out=dx_ND[rows])
            dhead_VD.addmm_(p_NV.mT, x_ND[rows])
        ctx.save_for_backward(dx_ND, dhead_VD)
        return total

    @staticmethod
    def backward(ctx, d_total: Tensor) -> tuple:  # type: ignore
        dx_ND, dhead_VD = ctx.saved_tensors
        return dx_ND * d_total, dhead_VD * d_total, None, None


def head_loss(x_ND: Tensor, head_VD: Tensor, target_N: Tensor, z_weight: float = 0.0) -> Tensor:
    """Summed cross-entropy of `x @ head.T` against the targets, plus `z_weight` · log²(sum of exp)."""
    return _HeadLoss.apply(x_ND, head_VD, target_N, z_weight)
