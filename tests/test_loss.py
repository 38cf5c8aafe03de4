"""The chunked head loss equals torch's cross-entropy, in value and gradients."""

import pytest
import torch
import torch.nn.functional as F

from perilune.train.loss import CHUNK, head_loss


@pytest.mark.parametrize("tokens", [1, 7, CHUNK, CHUNK + 3])
@pytest.mark.parametrize("z_weight", [0.0, 0.01])
def test_equals_cross_entropy(tokens, z_weight):
    torch.manual_seed(0)
    x_ND = torch.randn(tokens, 8, dtype=torch.float64, requires_grad=True)
    head_VD = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    target_N = torch.randint(0, 50, (tokens,))
    logits_NV = x_ND @ head_VD.T
    expected = F.cross_entropy(logits_NV, target_N, reduction="sum")
    expected = expected + z_weight * logits_NV.logsumexp(-1).square().sum()
    loss = head_loss(x_ND, head_VD, target_N, z_weight)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss * 0.5, (x_ND, head_VD))
    theirs = torch.autograd.grad(expected * 0.5, (x_ND, head_VD))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_no_tokens_no_loss():
    x_ND = torch.randn(0, 8, requires_grad=True)
    loss = head_loss(x_ND, torch.randn(5, 8), torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and x_ND.grad is not None


def test_huge_logits_stay_finite():
    x_ND = torch.full((2, 4), 1e3, requires_grad=True)
    head_VD = torch.eye(4) * 1e3
    loss = head_loss(x_ND, head_VD, torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite() and x_ND.grad.isfinite().all()
