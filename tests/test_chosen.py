"""Chosen chunks: gathering is the dense definition without what is hidden, and neighbours stay neighbours."""

import pytest
import torch
from test_memory import random_pages, random_queries
from tiny_models import memory_transformer

from perilune.model.chosen import choose, choose_dense
from perilune.model.memory import Pages
from perilune.model.second_look import Question


@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_gathered_chunks_read_like_all_chunks_with_the_others_hidden(top_k):
    """The dense form is the definition; outputs and gradients of the gathered form equal it, second look included."""
    torch.manual_seed(2)
    model = memory_transformer()
    layer, look = model.upper[0].self_attn, model.second_look
    for part in (look.out_proj, look.point_proj, look.begin_proj, look.layer.neighbours.o_proj, look.layer.down_proj):
        part.weight.data.normal_(0, 0.1)
    look.layer.question.o_proj.weight.data.normal_(0, 0.1)
    pages, scores = random_pages(chunks=9, filled=140), torch.rand(2, 9)
    x = torch.randn(2, 6, model.config.hidden_size)
    cos, sin = (table[:6] for table in model.rotary.up_to(6))
    times = torch.arange(6).expand(2, -1)
    ids = torch.randint(0, 500, (2, 9))
    ids[:, :6] = pages.ids_CS[4, 3:9]
    latents = torch.randn(2, 9, pages.latents_CSL.shape[-1])
    question = Question.of(random_queries(), latents, ids, torch.tensor([8, 5]), 32)
    results, begins = [], []
    for make in (choose_dense, choose):
        score = scores.clone().requires_grad_()
        latents = pages.latents_CSL.clone().requires_grad_()
        own = Pages(latents, pages.keys_CSGI, pages.ids_CS, pages.heads_C)
        chosen = look(make(score, own, top_k), question)
        begins.append(chosen.begin_BM[chosen.begin_BM > 0].detach())
        out = layer.read(x, cos, sin, None, [(chosen, times)])
        learned = (score, latents, layer.chunk_scale, look.in_proj.weight, look.mix_proj.weight, look.fit_weight)
        learned += (look.layer.neighbours.distance_bias, look.layer.question.k_proj.weight)
        results.append((out, *torch.autograd.grad(out.square().sum(), learned)))
    torch.testing.assert_close(*begins)
    pairs = list(zip(*results, strict=True))
    for wanted, got in pairs[:4]:
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)
    for wanted, got in pairs[4:]:  # sums over every place: rounding goes by the size of the whole
        assert (got - wanted).norm() < 1e-5 * wanted.norm()


def test_the_head_of_the_best_chunk_is_read_once():
    pages = random_pages(chunks=9)
    score = torch.zeros(2, 9)
    score[0, 6], score[1, 6], score[1, 4] = 1.0, 1.0, 0.5
    chosen = choose(score, pages, 2)
    assert chosen.chunk_BK[:, -1].tolist() == [4, 4]  # the first chunk of its segment of four
    assert (chosen.ids_BKS[0, -1] == pages.ids_CS[4]).all()
    assert (chosen.ids_BKS[1, -1] == -1).all() and chosen.latents_BKSL[1, -1].abs().sum() == 0


def test_what_stands_around_a_place_does_not_cross_a_gap():
    pages = random_pages(chunks=9)
    score = torch.zeros(1, 9)
    score[0, [2, 3, 6]] = torch.tensor([3.0, 2.0, 1.0])
    chosen = choose(score, pages, 3)
    place = torch.arange(1.0, 65.0).view(1, 64, 1)
    before, here, after = chosen.around(place, (1, 0, -1))[0].unbind(-1)
    assert here.equal(place[0, :, 0])
    assert before[[0, 1, 16, 32, 33, 48]].tolist() == [0, 1, 16, 0, 33, 0]
    assert after[[0, 15, 31, 32, 47, 63]].tolist() == [2, 17, 0, 34, 0, 0]


def test_runs_follow_the_text_over_the_border_of_neighbours():
    pages = random_pages(chunks=9)
    score = torch.zeros(1, 9)
    score[0, [2, 3]] = torch.tensor([2.0, 1.0])
    chosen = choose(score, pages, 2)
    copied = torch.cat((pages.ids_CS[2, -2:], pages.ids_CS[3, :2]))
    runs = chosen.runs(copied.unsqueeze(0), 4)
    assert [int(runs[0, t, 14 + t]) for t in range(4)] == [1, 2, 3, 4]
    told = chosen.told(runs)
    assert told[0, 3, 13:17].tolist() == [3, 4, 4, 4]  # the tokens after these four places have been told
    assert told[0, 0, 13] == 1 and told[0, 0, 14:17].sum() == 0


def test_what_is_left_to_tell_shrinks_as_values_are_told():
    pages = random_pages(chunks=9)
    score = torch.zeros(1, 9)
    score[0, [2, 5]] = torch.tensor([2.0, 1.0])
    chosen = choose(score, pages, 2)
    chosen.begin_BM[0, [3, 16 + 7]] = torch.tensor([0.75, 0.25])
    reply = torch.cat((pages.ids_CS[2, 4:6], pages.ids_CS[5, 8:10])).unsqueeze(0)
    left = chosen.left(chosen.told(chosen.runs(reply, 4)))[0]
    wanted = [[0.25, 1.0, 1.0], [0.25, 0.25, 1.0], [0.0, 0.25, 1.0], [0.0, 0.0, 1.0]]
    torch.testing.assert_close(left[:, :3], torch.tensor(wanted))
    torch.testing.assert_close(left[:, 3:], (torch.tensor(wanted) + 0.02).log())


def test_what_is_being_told_is_followed_to_its_end():
    pages = random_pages(chunks=9)
    score = torch.zeros(1, 9)
    score[0, 2] = 1.0
    chosen = choose(score, pages, 1)
    chosen.begin_BM[0, 3] = 0.75
    chosen.end_BM[0, 6] = 1.0
    reply = torch.cat((pages.ids_CS[2, 4:7], pages.ids_CS[2, 8:9])).unsqueeze(0)
    runs = chosen.runs(reply, 4)
    begun = chosen.begun(runs)
    assert [float(begun[0, t, 4 + t]) for t in range(4)] == [0.75, 0.75, 0.75, 0.0]
    span = chosen.told_span(begun)[0]
    torch.testing.assert_close(span[:3, 0], torch.full((3,), 0.75 / 0.77))
    torch.testing.assert_close(span[:, 1], torch.tensor([0.0, 0.0, 0.75 / 0.77, 0.0]))
    halves = chosen.begun(runs[:, 2:], chosen.begun(runs[:, :2])[:, -1])
    assert halves.equal(begun[:, 2:])
