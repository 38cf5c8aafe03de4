"""Examples with media: valid on both sides, a pure function of their arguments, and apart from one another."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from perilune.corpus.media_sources import MEDIA_SOURCES
from perilune.corpus.sources import data_root
from perilune.corpus.speech import has_speech
from perilune.errors import ConfigError
from perilune.tasks.shown import Wordings, bare, is_are, wordings
from perilune.tasks.shown_families import FAMILIES, shown

needs_data = pytest.mark.skipif(
    not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no folder with the licensed data"
)
FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
LONGEST_SECONDS = 16
LARGEST_SIDE = 400


def examples(family, seeds, held_out):
    if family.needs_speech and not has_speech():
        pytest.skip("espeak-ng is not installed")
    return [shown(family.name, seed, held_out, data_root()) for seed in seeds]


def parts(example):
    return [part for message in example.messages for part in message["content"] if message["role"] == "user"]


def question(example):
    return " ".join(part["text"] for part in parts(example) if part["type"] == "text")


def check_medium(medium):
    if medium.kind == "audio":
        assert medium.data.dtype == np.float32 and medium.data.ndim == 1
        assert 0.1 < len(medium.data) / 16_000 < LONGEST_SECONDS
        assert np.isfinite(medium.data).all() and np.abs(medium.data).max() <= 1.0
        assert medium.data.std() > 1e-4
    else:
        assert medium.data.dtype == np.uint8 and medium.data.shape[-1] == 3
        assert medium.data.ndim == (4 if medium.kind == "video" else 3)
        assert max(medium.data.shape) <= LARGEST_SIDE and min(medium.data.shape[-3:-1]) >= 56
        assert (medium.rate > 0) == (medium.kind == "video")


@needs_data
@FAMILY
@pytest.mark.parametrize("held_out", [False, True], ids=["training", "held out"])
def test_examples_are_whole_and_the_reply_holds_the_answer(family, held_out):
    for example in examples(family, range(30), held_out):
        assert example.family == family.name and example.held_out == held_out
        last = example.messages[-1]
        assert last["role"] == "assistant" and example.messages[0]["role"] == "user"
        assert example.answer and example.answer.lower() in last["content"].lower()
        assert [p["type"] for p in parts(example) if p["type"] != "text"] == [m.kind for m in example.media]
        assert example.media and not re.search(r"[{}]|\bNone\b", question(example) + last["content"])
        for medium in example.media:
            check_medium(medium)


@needs_data
@FAMILY
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(family):
    first, again = examples(family, range(4), False), examples(family, range(4), False)
    for one, two in zip(first, again, strict=True):
        assert (one.messages, one.answer) == (two.messages, two.answer)
        assert [m.data.tobytes() for m in one.media] == [m.data.tobytes() for m in two.media]
    assert len({example.media[0].data.tobytes() for example in first}) > 1


@needs_data
def test_yes_and_no_are_asked_for_about_as_often():
    for name in ("is_there", "same_digit", "sound_of_picture", "two_garments", "two_characters", "statement"):
        replies = [shown(name, seed, False, data_root()).messages[-1]["content"] for seed in range(100)]
        assert 30 <= sum(reply.startswith("Yes") for reply in replies) <= 75, name


@needs_data
def test_what_is_added_and_compared_is_right():
    for seed in range(60):
        sum_of, greater = (
            shown(n, seed, False, data_root()).messages[-1]["content"] for n in ("digit_sum", "greater_digit")
        )
        one, two, total = map(int, re.findall(r"\d+", sum_of))
        assert one + two == total
        more, less = map(int, re.findall(r"\d+", greater))
        assert more > less


@needs_data
def test_the_pictures_are_as_many_as_the_digits_told():
    for seed in range(20):
        example = shown("digit_pictures", seed, True, data_root())
        assert len(example.answer.split()) == len(example.media)


def test_names_are_single_and_weights_positive():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(family.weight > 0 for family in FAMILIES)
    with pytest.raises(ConfigError, match="read_word"):
        shown("chess", 0, False, Path("."))


@needs_data
def test_every_source_is_used():
    tasks = Path(__file__).resolve().parents[1] / "perilune" / "tasks"
    text = "".join(path.read_text() for path in tasks.glob("*.py"))
    assert not [origin.name for origin in MEDIA_SOURCES if f'"{origin.name}"' not in text]


def test_a_fifth_of_the_wordings_is_kept_for_held_out():
    asked = wordings(*(f"Question {number}?" for number in range(10)))
    assert asked.side(True) == ["Question 4?", "Question 9?"]
    assert len(asked.side(False)) == 8
    with pytest.raises(ValueError, match="at least 10"):
        Wordings(("What?",) * 12)


def test_phrases_are_bare_or_whole():
    assert bare("an ankle boot") == "ankle boot" and bare("trousers") == "trousers"
    assert bare("the flag of Chad") == "flag of Chad"
    assert is_are("a dress") == "This is a dress." and is_are("trousers") == "These are trousers."
