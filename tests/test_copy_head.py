"""The copy head: a mixture that adds up to one, gradients without NaN, and nothing copied where nothing stands."""

import torch
from tiny_models import memory_transformer

from perilune.model.copy_head import Pointing, pointable


def random_pointing(rows=2, tokens=5, targets=9, vocab=12):
    torch.manual_seed(0)
    logits = torch.randn(rows, tokens, targets)
    logits[0, 0, 3:] = -torch.inf
    return Pointing(logits.requires_grad_(), torch.randint(0, vocab, (rows, targets)), torch.randn(rows, tokens))


def test_the_mixture_is_a_distribution():
    mixed = random_pointing().mix(torch.randn(2, 5, 12)).exp()
    torch.testing.assert_close(mixed.sum(-1), torch.ones(2, 5))


def test_the_copied_share_of_a_target_is_the_sum_over_its_places():
    pointing = random_pointing()
    target = torch.randint(0, 12, (2, 5))
    weight = pointing.logits_BTA.softmax(-1) * pointing.gate_BT.sigmoid().unsqueeze(-1)
    wanted = (weight * (pointing.ids_BA.unsqueeze(1) == target.unsqueeze(-1))).sum(-1)
    got = pointing.log_copy(target).exp()
    torch.testing.assert_close(got[wanted > 0], wanted[wanted > 0])
    assert (got[wanted == 0] < 1e-12).all()


def test_gradients_are_finite_where_the_target_stands_nowhere():
    pointing = random_pointing()
    pointing.log_copy(torch.full((2, 5), 77)).sum().backward()
    assert pointing.logits_BTA.grad.isfinite().all()


def test_the_first_token_has_nothing_to_copy():
    model = memory_transformer()
    ids = torch.randint(0, 256, (1, 6))
    x, middle = model.trunk(ids)
    pointing = model.pointing(model.norm(x), middle, ids, None)
    assert pointing.gate_BT[0, 0] == -30.0
    assert (pointing.gate_BT[0, 1:] > -30.0).all()


def test_tokens_point_back_within_their_document_and_window():
    seen = pointable(torch.tensor([[0, 0, 0, 1, 1]]), 5, 3)[0]
    assert seen.int().tolist() == [[0] * 5, [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0] * 5, [0, 0, 0, 1, 0]]
    assert pointable(None, 4, 2)[0].int().tolist() == [[0] * 4, [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
