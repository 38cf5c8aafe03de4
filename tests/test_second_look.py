"""The second look: what a question asks for stands out, wherever it stands, and nothing else of the memory matters."""

import torch
from test_memory import random_pages
from tiny_models import memory_transformer

from perilune.model.chosen import choose
from perilune.model.memory import Queries
from perilune.model.second_look import Question, fits


def asked(pages, chunk, start, count=5):
    """A question that repeats some tokens of a chunk, with their keys as queries."""
    index = pages.keys_CSGI[chunk, start : start + count].unsqueeze(0)
    queries = Queries(index, torch.ones(1, count, 2), torch.zeros(1, count))
    return Question.of(queries, pages.ids_CS[chunk, start : start + count].unsqueeze(0), torch.tensor([count - 1]), 32)


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
    )
    torch.testing.assert_close(fits(some_choice(pages), more), fits(some_choice(pages), question))


def test_a_question_fades_and_ends_with_the_window():
    queries = Queries(torch.randn(1, 6, 2, 16), torch.ones(1, 6, 2), torch.full((1, 6), -0.5))
    question = Question.of(queries, torch.arange(6).unsqueeze(0), torch.tensor([4]), 3)
    wanted = torch.tensor([0.0, 0.0, -1.0, -0.5, 0.0, 0.0]).exp() * torch.tensor([0, 0, 1, 1, 1, 0])
    torch.testing.assert_close(question.weight_BTG[0, :, 0], wanted)


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
