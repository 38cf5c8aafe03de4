"""The second look: what a question asks for stands out, wherever it stands, and nothing else of the memory matters."""

import pytest
import torch
from test_memory import random_pages
from tiny_models import memory_transformer

from perilune.model.chosen import choose
from perilune.model.memory import Queries
from perilune.model.second_look import Question, fits


def asked(pages, chunk, start, count=5):
    """A question that repeats some tokens of a chunk, with their keys as queries and their latents."""
    index = pages.keys_CSGI[chunk, start : start + count].unsqueeze(0)
    queries = Queries(index, torch.ones(1, count, 2), torch.zeros(1, count))
    ids, latents = (x[chunk, start : start + count].clone()[None] for x in (pages.ids_CS, pages.latents_CSL))
    return Question.of(queries, latents, ids, torch.tensor([count - 1]), 32)


def lively(look):
    """With weights that make every part of it heard."""
    generator = torch.Generator().manual_seed(3)
    for weight in look.parameters():
        weight.data.normal_(0, 0.2, generator=generator)
    return look


def some_choice(pages):
    score = torch.zeros(1, pages.ids_CS.shape[0])
    score[0, [1, 4, 5]] = torch.tensor([3.0, 2.0, 1.0])
    return choose(score, pages, 3)


def test_the_place_after_the_repeated_words_fits_best():
    torch.manual_seed(0)
    pages = random_pages(chunks=9)
    chosen = some_choice(pages)
    look = memory_transformer().second_look
    made = look(chosen, asked(pages, 4, 6))
    best = made.fit_BKS[0].flatten().argmax()
    assert divmod(int(best), 16) in [(1, 10), (1, 9), (1, 11)]
    assert made.fit_BKS.max() == 0.0


def test_an_exact_repeat_is_a_full_match_before_it_ends_and_after():
    torch.manual_seed(0)
    pages = random_pages(chunks=9)
    made = fits(some_choice(pages), asked(pages, 4, 6))[0]
    index, literal = made[:, :7], made[:, 14:21]
    at = 16 + 10  # the last of the five repeated tokens
    assert abs(float(index[at, 3]) - 1.0) < 1e-5  # every word stands within a chunk's length before it
    assert float(index[at, 6]) < 0.9 and float(index[at - 5, 6]) > 1.0 - 1e-5  # or after it
    assert abs(float(literal[at, 3]) - (0.25 + 0.5 + 0.75 + 1.0 + 1.0) / 5) < 1e-5
    assert made[:, -1].tolist() == [0.0] * 48 + [1.0] * 16  # the head knows that it is one


def test_tokens_that_count_nothing_change_nothing():
    torch.manual_seed(0)
    pages = random_pages(chunks=9)
    question = asked(pages, 4, 6)
    more = Question(
        torch.cat((question.index_BTGI, torch.randn(1, 3, 2, 16)), 1),
        torch.cat((question.weight_BTG, torch.zeros(1, 3, 2)), 1),
        torch.cat((question.ids_BT, torch.zeros(1, 3, dtype=torch.long)), 1),
        torch.cat((question.latents_BTL, torch.randn(1, 3, question.latents_BTL.shape[-1])), 1),
        torch.cat((question.log_keep_BT, torch.full((1, 3), -torch.inf)), 1),
    )
    torch.testing.assert_close(fits(some_choice(pages), more), fits(some_choice(pages), question))
    look = lively(memory_transformer().second_look)
    with_more, without = (look(some_choice(pages), asks).latents_BKSL for asks in (more, question))
    torch.testing.assert_close(with_more, without, atol=1e-4, rtol=1e-4)  # sums of another length round otherwise


def test_a_question_fades_and_ends_with_the_window():
    queries = Queries(torch.randn(1, 6, 2, 16), torch.ones(1, 6, 2), torch.full((1, 6), -0.5))
    question = Question.of(queries, torch.randn(1, 6, 32), torch.arange(6).unsqueeze(0), torch.tensor([4]), 3)
    wanted = torch.tensor([0.0, 0.0, -1.0, -0.5, 0.0, 0.0]).exp() * torch.tensor([0, 0, 1, 1, 1, 0])
    torch.testing.assert_close(question.weight_BTG[0, :, 0], wanted)
    torch.testing.assert_close(question.log_keep_BT[0], wanted.log())


def test_fresh_weights_leave_the_latents_as_they_are():
    pages = random_pages(chunks=9)
    chosen = some_choice(pages)
    made = memory_transformer().second_look(chosen, asked(pages, 4, 6))
    assert made.latents_BKSL.equal(chosen.latents_BKSL)


def test_what_answers_begins_somewhere_and_only_where_the_text_goes_on():
    torch.manual_seed(0)
    pages = random_pages(chunks=9, filled=5 * 16 + 9)
    look = memory_transformer().second_look
    look.begin_proj.weight.data.normal_(0, 0.3)
    chosen = some_choice(pages)
    begin_BM = look(chosen, asked(pages, 4, 6)).begin_BM
    torch.testing.assert_close(begin_BM.sum(1), torch.ones(1))
    goes_on_BM = chosen.there_BM & (chosen.next_ids_BM >= 0)
    assert goes_on_BM.any() and (~goes_on_BM).any() and (begin_BM[~goes_on_BM] == 0).all()
    nothing = choose(torch.zeros(1, 9), random_pages(chunks=9, filled=0), 2)
    assert look(nothing, asked(pages, 4, 6)).begin_BM.isfinite().all()


@pytest.mark.parametrize("chunk, start", [(4, 6), (4, 13), (1, 0)])
def test_a_place_hears_what_its_text_says_on_both_sides_and_no_other_text(chunk, start):
    """Chunks 4 and 5 follow one another, 1 stands alone; the empty end of the memory says nothing."""
    torch.manual_seed(0)
    pages = random_pages(chunks=9, filled=5 * 16 + 9)
    look, question = lively(memory_transformer().second_look), asked(pages, 4, 6)
    before = look(some_choice(pages), question).latents_BKSL
    pages.latents_CSL[chunk, start] += 1.0
    change_KS = (look(some_choice(pages), question).latents_BKSL - before).abs().amax(-1)[0]
    row = [1, 4, 5].index(chunk)
    there_KS = pages.ids_CS[[1, 4, 5, 0]] >= 0
    own_K = torch.tensor([k in ((1, 2) if row else (0,)) for k in range(4)])
    text_KS = there_KS & own_K.unsqueeze(1)
    away_KS = (torch.arange(64) - (row * 16 + start)).abs().view(4, 16)
    assert (change_KS[text_KS & (away_KS <= 16)] > 1e-4).all()
    assert (change_KS[there_KS & ~text_KS] == 0).all()


def test_neighbours_are_heard_by_their_distance_alone():
    """The plain form: one place after the other, over the text as it stands in the row."""
    torch.manual_seed(0)
    pages = random_pages(chunks=9, filled=5 * 16 + 9)
    layer = lively(memory_transformer().second_look).layer.neighbours
    chosen, width = some_choice(pages), layer.norm.weight.shape[0]
    seen = torch.randn(1, 64, width)
    q, k, v = layer.qkv_proj(layer.norm(seen))[0].chunk(3, -1)
    there, part = chosen.there_BM[0], chosen.breaks_BM.cumsum(1)[0]
    wanted, size = torch.zeros(64, q.shape[-1]), 16
    for m in range(64):
        near = [n for n in range(64) if abs(n - m) <= size and part[n] == part[m] and (there[n] or n == m)]
        for h, head in enumerate(torch.arange(q.shape[-1]).view(-1, 32)):
            bias = layer.distance_bias[h, torch.tensor(near) - m + size]
            p = (k[near][:, head] @ q[m, head] * 32**-0.5 + bias).softmax(0)
            wanted[m, head] = p @ v[near][:, head]
    torch.testing.assert_close(layer(seen, chosen)[0], layer.o_proj(wanted))
