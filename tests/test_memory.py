"""The chunk memory: matches, tallies and choices against their plain definitions."""

import torch
from tiny_models import memory_transformer

from perilune.model.memory import (
    Pages,
    Queries,
    accumulate,
    best_matches,
    best_matches_plain,
    go_on,
    pair_matches,
    scan,
    stored,
)


def random_pages(chunks=7, size=16, rank=24, groups=2, width=16, filled=None):
    ids_CS = torch.randint(0, 500, (chunks, size))
    if filled is not None:
        ids_CS.view(-1)[filled:] = -1
    keys = torch.nn.functional.normalize(torch.randn(chunks, size, groups, width), dim=-1)
    heads = torch.arange(chunks) // 4 * 4
    return Pages(torch.randn(chunks, size, rank), keys * (ids_CS >= 0)[..., None, None], ids_CS, heads)


def random_queries(rows=2, tokens=9, groups=2, width=16):
    index = torch.nn.functional.normalize(torch.randn(rows, tokens, groups, width), dim=-1)
    return Queries(index, torch.rand(rows, tokens, groups) + 0.1, -torch.rand(rows, tokens))


def test_best_matches_and_their_gradients_equal_the_definition():
    torch.manual_seed(0)
    index = torch.randn(11, 2, 8, requires_grad=True)
    keys = torch.randn(5, 4, 2, 8, requires_grad=True)
    weight = torch.randn(11, 2, 5)
    wanted = torch.autograd.grad((best_matches_plain(index, keys) * weight).sum(), (index, keys))
    got = torch.autograd.grad((best_matches(index, keys) * weight).sum(), (index, keys))
    torch.testing.assert_close(best_matches(index, keys), best_matches_plain(index, keys))
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(a, b)


def test_fixed_chunks_are_searched_but_not_learned():
    index, keys = torch.randn(3, 2, 8), torch.randn(5, 4, 2, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(best_matches(index, keys, 2).sum(), keys)
    assert gradient[:3].abs().sum() > 0
    assert gradient[3:].abs().sum() == 0


def test_the_scan_of_stored_keys_is_the_match_of_their_rounded_values():
    pages, index = random_pages(filled=100), torch.nn.functional.normalize(torch.randn(5, 2, 16), dim=-1)
    rounded = (index * 127).round() / 127
    keys = (pages.keys_CSGI * 127).round() / 127
    torch.testing.assert_close(scan(index, stored(pages)), best_matches_plain(rounded, keys))


def test_some_keys_come_back_as_they_were_stored():
    pages = random_pages(filled=100)
    chunk = torch.tensor([[0, 3], [6, 1]])
    rounded = (pages.some_keys(chunk) * 127).round() / 127
    torch.testing.assert_close(stored(pages).some_keys(chunk), rounded)


def test_the_tally_is_a_fading_weighted_average():
    torch.manual_seed(1)
    queries, pairs = random_queries(), torch.rand(2, 9, 2, 7)
    score = accumulate(pairs, queries).score_BTC
    for row in range(2):
        matched, weight = torch.zeros(7), 0.0
        for t in range(9):
            keep = queries.log_keep_BT[row, t].exp()
            matched = keep * matched + (queries.weight_BTG[row, t, :, None] * pairs[row, t]).sum(0)
            weight = keep * weight + queries.weight_BTG[row, t].sum()
            pair = matched / weight
            before = torch.cat((torch.zeros(1), pair[:-1]))
            torch.testing.assert_close(score[row, t], torch.maximum(pair, before))


def test_going_on_token_by_token_gives_the_same_tally():
    queries, pairs = random_queries(rows=1), torch.rand(1, 9, 2, 7)
    tally = None
    for start, end in ((0, 1), (1, 5), (5, 9)):
        tally = go_on(tally, pairs[0, start:end], queries.part(start, end))
    torch.testing.assert_close(tally.score_BTC[:, -1], accumulate(pairs, queries).score_BTC[:, -1])


def test_a_match_counts_for_both_chunks_of_a_pair():
    best = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]])
    assert pair_matches(best).tolist() == [[[0.0, 1.0, 1.0, 0.0]]]


def test_features_of_packed_documents_do_not_cross_borders():
    memory = memory_transformer().memory
    hidden = torch.randn(1, 20, memory.norm.weight.shape[0])
    segments = torch.tensor([[0] * 7 + [1] * 1 + [2] * 12])
    apart = [memory.features(part) for part in hidden.split([7, 1, 12], dim=1)]
    torch.testing.assert_close(memory.features(hidden, segments), torch.cat(apart, 1))


def test_places_without_a_token_match_nothing():
    model = memory_transformer()
    ids = torch.full((1, 32), -1)
    ids[0, :20] = torch.arange(20)
    pages = model.memory.pages(model.memory.features(torch.randn(1, 32, model.config.hidden_size)), ids)
    assert pages.keys_CSGI.flatten(0, 1)[20:].abs().sum() == 0
    assert pages.next_ids_CS.flatten()[:20].tolist() == [*range(1, 20), -1]
