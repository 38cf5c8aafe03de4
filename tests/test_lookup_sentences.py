"""Questions about real sentences: the value stands in its own sentence only, and the question does not give it away."""

import random
from itertools import cycle

import pytest

from perilune.tasks.lookup_sentences import asked_of, sentences
from perilune.tasks.lookup_types import fair

TEXT = (
    "The medal in the glass case was awarded to Sergeant Pilar Ochoa.",
    "The river Tarn froze for the last time in 1956.",
    "Inspector Dahl found the missing ledger behind the old piano.",
    "The tunnel under the customs house is 317 metres long.",
    "A heron stood on the roof of the chapel.",
    "The captain carried two letters from Lisbon to the island.",
)


def asked(sentence, tries=60):
    found = {asked_of(random.Random(seed), sentence) for seed in range(tries)}
    return {made for made in found if made is not None}


@pytest.mark.parametrize("sentence", TEXT)
def test_a_value_is_a_part_of_the_sentence_that_the_question_lacks(sentence):
    made = asked(sentence)
    assert len({value for _, value in made}) >= 2
    for question, value in made:
        assert value in sentence and 1 <= len(value.split()) <= 6
        assert not question.endswith(value + "?")
        shared = set(question.lower().rstrip("?").split()) & set(sentence.lower().rstrip(".").split())
        assert len(shared) >= 2


def test_the_rules_turn_sentences_round():
    said = {question.lower() for question, _ in asked(TEXT[1], 400)}
    assert any("did the river tarn freeze for the last time" in text for text in said)
    numbers = {value for _, value in asked(TEXT[3], 200)}
    assert {"317", "317 metres"} & numbers
    assert {"Sergeant Pilar Ochoa", "The medal in the glass case"} <= {value for _, value in asked(TEXT[0], 200)}
    assert "behind the old piano" in {value for _, value in asked(TEXT[2], 200)}


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "Former members",
        "| Party | Abbr. |",
        "He was buried in Emerson.",
        "Thus, it was sold to a brewer.",
        "Stop!",
        "The (old) mill was sold to a brewer from Ghent.",
        "The " + "very " * 40 + "old mill was sold to a brewer.",
    ],
)
def test_what_cannot_be_asked_for_is_left(odd):
    assert not asked(odd)


def test_a_lookup_asks_for_each_sentence_alone():
    pieces = cycle(" " + sentence for sentence in (*TEXT, TEXT[0], "Not a sentence"))
    made = sentences(random.Random(5), 5, lambda: next(pieces))
    assert len(made.needles) == len(set(made.needles)) == 5
    assert made.questions and all(fair(one) and len(one.needles) == 1 for one in made.questions)
    for one in made.questions:
        for i, needle in enumerate(made.needles):
            assert (one.values[0] in needle) == (i in one.needles)


def test_text_without_sentences_gives_nothing():
    assert sentences(random.Random(1), 3, lambda: "\n| a | table |") is None
