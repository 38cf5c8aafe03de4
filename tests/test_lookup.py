"""Lookups: answers stand in their needles and nowhere else, seeds decide, scoring has forms and words of its own."""

import random
import re

import pytest
from tiny_vocab import tiny_tokenizer

from perilune.corpus.filler import filler
from perilune.errors import ConfigError
from perilune.tasks import (
    lookup_chains,
    lookup_drawn,
    lookup_facts,
    lookup_forms,
    lookup_profiles,
    lookup_questions,
    lookup_records,
)
from perilune.tasks import lookup_words as words
from perilune.tasks.lookup import LOOKUPS, SCORED_ONLY, lay
from perilune.tasks.lookup_forms import count_forms
from perilune.tasks.lookup_keys import SUBJECTS, Keys
from perilune.tasks.lookup_lay import is_sentence
from perilune.tasks.lookup_plain import tell
from perilune.tasks.lookup_relations import RELATIONS
from perilune.tasks.lookup_types import fair
from perilune.tasks.lookup_values import KINDS, Values
from perilune.tasks.lookup_wrapped import wrapped

NAMES = pytest.mark.parametrize("name", list(LOOKUPS))
SIDES = pytest.mark.parametrize("held_out", [False, True], ids=["train", "held-out"])
TOLD = [n for n in LOOKUPS if n not in (*SCORED_ONLY, "variables")]


def made(name, seed, held_out=False):
    rng = random.Random(f"{name}:{seed}")
    return LOOKUPS[name](rng, (1, 2, 5, 12, 40)[seed % 5], held_out)


@NAMES
def test_seeds_decide(name):
    assert [made(name, s) for s in range(8)] == [made(name, s) for s in range(8)]
    assert len({made(name, s).needles for s in range(8)}) > 5


@NAMES
@SIDES
def test_200_examples_with_every_value_in_its_needle_and_none_in_the_question(name, held_out):
    for seed in range(200):
        lookup = made(name, seed, held_out)
        assert lookup.task == name and lookup.filler in ("text", "code", "noise", "needles")
        assert lookup.needles and all(lookup.needles) and 1 <= len(lookup.questions) <= 8
        for asked in lookup.questions:
            gold = [lookup.needles[i] for i in asked.needles] if lookup.file is None else [lookup.file]
            assert asked.values and asked.answer == ", ".join(asked.values)
            assert all(any(value in needle for needle in gold) for value in asked.values), (asked, gold)
            assert fair(asked)
            assert not re.search(r"[{}]", re.sub(r'{"?|"?}', "", asked.text)) or name == "records"


@pytest.mark.parametrize("name", TOLD)
@SIDES
def test_no_other_needle_answers_the_question(name, held_out):
    """The value stands in one needle only, and the same question has one answer."""
    for seed in range(60):
        lookup = made(name, seed, held_out)
        told = {}
        for asked in lookup.questions:
            assert told.setdefault(asked.text, asked.values) == asked.values
            for value in asked.values:
                if len(value) > 5 and name not in ("backward", "defined"):
                    assert [i for i, needle in enumerate(lookup.needles) if value in needle] in (
                        [i] for i in asked.needles
                    )


def test_no_two_facts_of_a_document_are_about_the_same():
    for seed in range(100):
        told = tell(random.Random(seed), 40, seed % 2 == 0)
        assert len({(fact.relation.noun, fact.subject.name.lower()) for fact in told}) == len(told)


def test_keys_of_a_document_do_not_contain_one_another():
    for kind in SUBJECTS:
        for held_out in (False, True):
            keys = Keys(random.Random(5), held_out)
            names = [s.name.lower() for s in keys.several(kind, 40) + keys.several(kind, 10)]
            assert len(set(names)) == 50
            padded = [f" {name} " for name in names]
            assert not [(a, b) for a in padded for b in padded if a is not b and a in b], kind


def test_many_keys_can_be_had_of_any_kind():
    for kind in SUBJECTS:
        assert len(Keys(random.Random(1), True).several(kind, 3_000)) == 3_000


@pytest.mark.parametrize("kind", list(KINDS))
def test_values_are_new_and_plentiful(kind):
    values = Values(random.Random(2), True)
    wanted = min(200, KINDS[kind].room // 4)
    given = [values.fresh(kind) for _ in range(max(1, wanted))]
    assert None not in given and len(set(given)) == len(given)
    assert not any("," in value for value in given), "a comma parts the values of an answer"


def test_one_key_with_several_values_is_listed_in_the_order_of_the_document():
    for seed in range(100):
        for asked in made("multivalue", seed).questions:
            assert 2 <= len(asked.values) <= 4 and list(asked.needles) == sorted(asked.needles)


def test_several_keys_are_answered_in_the_order_of_the_question():
    for seed in range(100):
        lookup = made("multiquery", seed)
        for asked in lookup.questions:
            assert 2 <= len(asked.values) == len(asked.needles) <= 4
            for value, index in zip(asked.values, asked.needles, strict=True):
                assert value in lookup.needles[index]


def test_a_variable_leads_back_to_its_value_through_the_gold_needles():
    hops = set()
    for seed in range(200):
        lookup = made("variables", seed)
        for asked in lookup.questions:
            if len(asked.values) > 1:
                hops.add(len(asked.values) - 1)
                pairs = zip(asked.needles, asked.needles[1:], asked.values, asked.values[1:], strict=False)
                for before, after, name, copied in pairs:
                    assert name in lookup.needles[before] and {name, copied} <= set(
                        re.findall(r"\w+", lookup.needles[after])
                    )
    assert hops == {1, 2, 3, 4}


@pytest.mark.parametrize("name", SCORED_ONLY)
def test_the_most_common_words_are_those(name):
    lookup = made(name, 4, True)
    counted = {}
    for word in re.findall(r"[a-z]+", " ".join(lookup.needles)):
        counted[word] = counted.get(word, 0) + 1
    top = sorted(counted, key=lambda w: -counted[w])[: len(lookup.questions[0].values)]
    assert set(top) == set(lookup.questions[0].values)


def test_words_are_on_one_side_only():
    lists = [value for value in vars(words).values() if isinstance(value, words.Words)]
    train, held_out = ({w.lower() for each in lists for w in each.of(side)} for side in (False, True))
    assert not train & held_out
    assert len(train) > 1_000 and len(held_out) > 300
    rng = random.Random(0)
    for make in (words.made_up, words.letters):
        assert all(words.held(make(rng, side)) == side for side in (False, True) for _ in range(50))


def frames(side):
    """Every template of one side, over all grammars."""
    said = [
        lookup_forms.CORES,
        lookup_forms.LINES,
        lookup_records.PAIRS,
        lookup_records.FUNCTIONS,
        lookup_records.FILES,
    ]
    said += [lookup_records.PAIR_QUESTIONS, lookup_records.FUNCTION_QUESTIONS, lookup_records.FILE_QUESTIONS]
    said += [lookup_questions.ONE, lookup_questions.FRAGMENTS, lookup_questions.ALL, lookup_questions.MANY]
    said += [lookup_questions.BACK, lookup_chains.WHICH, lookup_chains.VALUE, lookup_chains.REPEAT, lookup_chains.GO_ON]
    said += [lookup_chains.STEPS, lookup_profiles.CARDS]
    facts = [t for fact in lookup_facts.FACTS[side] for t in f"{fact.sentences} | {fact.questions}".split(" | ")]
    return {template for each in said for template in each[side]} | set(facts)


def test_scoring_has_forms_and_relations_of_its_own():
    ruler = "what are all the {rs} for {s} mentioned in the provided text?"
    both = frames(False) & frames(True)
    assert not both
    assert ruler in frames(True) and "one of the {rs} for {s} is: {v}" in frames(True)
    assert not any("magic" in template or "provided text" in template for template in map(str, frames(False)))
    nouns = [{known.noun for group in RELATIONS[side] for known in group} for side in (False, True)]
    assert not nouns[0] & nouns[1]
    assert count_forms(False) > 1_000 and len(frames(False)) > 300


def test_training_never_says_magic():
    for name in LOOKUPS:
        for seed in range(40):
            lookup = made(name, seed)
            assert "magic" not in " ".join([*lookup.needles, *(asked.text for asked in lookup.questions)])


ENCODE = tiny_tokenizer().encode


@NAMES
@pytest.mark.parametrize("kind", ["text", "code", "noise"])
def test_spans_decode_to_the_needles_and_the_budget_is_kept(name, kind):
    for seed in range(4):
        lookup, rng = made(name, seed + 5), random.Random(seed)
        tokens = 30_000 if name in SCORED_ONLY else 12_000
        laid = lay(rng, lookup, filler(lookup.filler and kind, None, rng, True), tokens, ENCODE)
        assert len(laid.ids) <= tokens and laid.ids.dtype == "int32"
        if lookup.filler != "needles":
            assert len(laid.ids) > tokens - 400
        last = 0
        for needle, (start, end) in zip(lookup.needles, laid.spans, strict=True):
            assert last <= start < end
            assert tiny_tokenizer().decode(laid.ids[start:end].tolist()).lstrip() == needle.lstrip()
            last = end


def test_needles_stand_where_they_are_asked_to_stand():
    lookup = made("multikey", 2)
    depths = [0.0, 0.25, 0.5, 0.75, 1.0][: len(lookup.needles)]
    rng = random.Random(1)
    laid = lay(rng, lookup, filler("noise", None, rng, False), 20_000, ENCODE, depths)
    found = [start / len(laid.ids) for start, _ in laid.spans]
    assert found == pytest.approx(depths, abs=0.03)
    with pytest.raises(ConfigError, match="depths"):
        lay(rng, lookup, filler("noise", None, rng, False), 20_000, ENCODE, [0.5])


def test_needles_stand_between_sentences_and_lines():
    rng = random.Random(6)
    for seed in range(20):
        lookup = made("multikey", seed)
        laid = lay(rng, lookup, filler("noise", None, rng, False), 6_000, ENCODE)
        text = tiny_tokenizer().decode(laid.ids.tolist())
        for needle in lookup.needles:
            before, after = text.split(needle, 1) if needle in text else (".", "\n")
            assert not before or before[-1] == "\n" or (before[-1] == " " and is_sentence(needle))
            assert not after or after[0] in " \n"


def test_distractors_give_way_and_gold_never_does():
    lookup = next(x for x in (made("needles_words", s) for s in range(4, 400, 5)) if len(x.questions) < 12)
    rng = random.Random(3)
    gold = {i for asked in lookup.questions for i in asked.needles}
    short = sum(len(ENCODE(" " + lookup.needles[i])) + 3 for i in gold) + 200
    laid = lay(rng, lookup, iter(()), short, ENCODE)
    assert len(laid.ids) <= short and (0, 0) in laid.spans
    assert all(laid.spans[i] != (0, 0) for i in gold)
    with pytest.raises(ConfigError, match="too few"):
        lay(rng, lookup, iter(()), 60, ENCODE)


def test_drawn_notations_are_none_that_scoring_uses():
    rng, drawn = random.Random(0), set()
    for make in (lookup_drawn.drawn_pair, lookup_drawn.drawn_function, lookup_drawn.drawn_file):
        drawn |= {" ".join(make(rng).split()) for _ in range(5_000)}
    assert len(drawn) > 5_000
    assert not drawn & {" ".join(template.split()) for template in frames(True) if isinstance(template, str)}


@pytest.mark.parametrize("name", [name for name in TOLD if name != "backward"])
def test_words_around_a_needle_change_no_answer(name):
    text = "Once upon a time the old harbour slept, and nobody on board of the ship had heard a sound."
    changed = 0
    for seed in range(30):
        before = made(name, seed, False)
        after = wrapped(random.Random(seed), before, lambda: text)
        assert len(after.needles) == len(before.needles) and after.file == before.file
        for old, new in zip(before.needles, after.needles, strict=True):
            assert old.rstrip(".") in new
            changed += old != new
        for old, new in zip(before.questions, after.questions, strict=True):
            assert new.text.endswith(old.text) and (new.values, new.needles) == (old.values, old.needles) and fair(new)
            changed += old != new
            for value in new.values:
                wanted = sum(value in needle for needle in before.needles)
                assert sum(value in needle for needle in after.needles) == wanted
    assert changed > 10
