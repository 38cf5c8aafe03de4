"""Cross-entropy of many tokens over a large vocabulary without ever holding all logits.

Loss and gradients are made in one pass over chunks of tokens, so each chunk of logits is computed once and dropped.
With a copy head the probability of a target is a mixture: what the head gives it, and what is copied.
Axes: N tokens, D width, V vocabulary.
"""

import torch
from torch import Tensor

from perilune.kernels import where

CHUNK = 512  # tokens whose logits exist at a time
CHUNK_ON_A_GPU = 8192


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore
        ctx, x_ND: Tensor, head_VD: Tensor, target_N: Tensor, z_weight: float, log_keep_N: Tensor, log_copy_N: Tensor
    ) -> Tensor:
        wants = any(ctx.needs_input_grad)
        by_head_N = torch.empty_like(log_keep_N)
        total = x_ND.new_zeros(())
        dx_ND = torch.empty_like(x_ND)
        dhead_VD = torch.zeros_like(head_VD)
        chunk = CHUNK if where.on_cpu(x_ND) else CHUNK_ON_A_GPU
        for begin in range(0, x_ND.shape[0], chunk):
            rows = slice(begin, begin + chunk)
            p_NV = x_ND[rows] @ head_VD.mT
            target_N1 = target_N[rows, None]
            largest_N1 = p_NV.amax(dim=-1, keepdim=True)
            hit_N1 = p_NV.gather(1, target_N1) - largest_N1
            sum_N1 = p_NV.sub_(largest_N1).exp_().sum(dim=-1, keepdim=True)
            log_sum_N1 = sum_N1.log()
            log_z_N1 = log_sum_N1 + largest_N1
            head_N = (hit_N1 - log_sum_N1).squeeze(1) + log_keep_N[rows]
            mixed_N = torch.logaddexp(head_N, log_copy_N[rows])
            total += z_weight * log_z_N1.square().sum() - mixed_N.sum()
            if not wants:
                continue
            by_head_N[rows] = (head_N - mixed_N).exp()
            share_N1 = by_head_N[rows, None]
            p_NV.mul_((share_N1 + 2 * z_weight * log_z_N1) / sum_N1)
            p_NV.scatter_add_(1, target_N1, -share_N1)
            torch.mm(p_NV, head_VD, out=dx_ND[rows])
            dhead_VD.addmm_(p_NV.mT, x_ND[rows])
        ctx.save_for_backward(dx_ND, dhead_VD, by_head_N)
        return total

    @staticmethod
    def backward(ctx, d_total: Tensor) -> tuple:  # type: ignore
        dx_ND, dhead_VD, by_head_N = ctx.saved_tensors
        return dx_ND * d_total, dhead_VD * d_total, None, None, -by_head_N * d_total, (by_head_N - 1) * d_total


def head_loss(
    x_ND: Tensor,
    head_VD: Tensor,
    target_N: Tensor,
    z_weight: float = 0.0,
    copied: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Summed cross-entropy of `x @ head.T` against the targets, plus `z_weight` · log²(sum of exp).

    `copied` holds log(1 - gate) and log(gate · probability that the target is copied), each [N].
    """
    if copied is None:
        copied = x_ND.new_zeros(x_ND.shape[0]), x_ND.new_full((x_ND.shape[0],), -torch.inf)
    return _HeadLoss.apply(x_ND, head_VD, target_N, z_weight, *copied)
