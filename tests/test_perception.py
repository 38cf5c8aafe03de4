"""What a model sees and hears is scored: the rule, the choice of families, and a small model that is really asked."""

import os

import numpy as np
import pytest
from tiny_models import TOKENIZER, tiny_transformer
from tiny_senses import sensing_model
from typer.testing import CliRunner

from perilune.api.model import Model
from perilune.cli import app
from perilune.corpus.media import Medium
from perilune.corpus.sources import data_root
from perilune.corpus.speech import has_speech
from perilune.errors import ConfigError, RequestError
from perilune.score import perception
from perilune.score.exact import TaskScore
from perilune.score.perception import conversation, parse_families, said_right, score_perception
from perilune.tasks.shown import Shown
from perilune.tasks.shown_families import FAMILIES, GROUPS, shown

needs_data = pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no data")


def answered(answer: str) -> Shown:
    return Shown("test", (), (), answer, True)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("ankle boot", "This is an Ankle boot."),
        ("cars drive by.", "Cars drive by"),
        ("The sea waves.", "the sea waves."),
        ("a dog barking", "I hear the dog barking."),
        ("no,", "No, I see 3 and hear 4."),
        ("= 12", "8 + 4 = 12."),
        ('"left"', 'The word is "left".'),
        ("4 times", "The red ring appears 4 times."),
        ("1 2 3", "1 2 3."),
    ],
)
def test_an_answer_stands_in_a_right_reply(answer, reply):
    assert said_right(answered(answer), reply)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("shirt", "This is a T-shirt."),
        ("apples", "The photo shows pineapples."),
        ("coat", "A raincoat."),
        ("1 time", "It appears 1 times."),
        ("= 1", "8 + 4 = 12."),
        ("has 5", "Alice has 57 buttons."),
        ("no,", "No. I hear nothing."),
        ("cat", ""),
    ],
)
def test_part_of_a_word_is_no_answer(answer, reply):
    assert not said_right(answered(answer), reply)


@needs_data
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_the_true_reply_is_right_and_another_is_not(family):
    if family.needs_speech and not has_speech():
        pytest.skip("espeak-ng is not installed")
    for seed in range(4):
        example = shown(family.name, seed, True, data_root())
        assert said_right(example, str(example.messages[-1]["content"]))
        assert not said_right(example, "I do not know.")


def test_families_are_named_by_themselves_by_group_or_all_in_one_order():
    assert parse_families("all") == FAMILIES
    names = [family.name for family in parse_families(" motion, sounds,spoken_digit")]
    assert names == [*(family.name for family in GROUPS["sounds"]), "motion"]
    for text, told in (("sights,smells", "names smells; give all, or some of appear"), (" ,", "names nothing")):
        with pytest.raises(RequestError, match=told):
            parse_families(text)


def test_media_stand_in_the_question_and_the_reply_does_not():
    media = (Medium("image", np.zeros((9, 8, 3), np.uint8)), Medium("video", np.ones((2, 9, 8, 3), np.uint8), 4.0))
    content = [{"type": "image"}, {"type": "text", "text": "What?"}, {"type": "video"}]
    asked = conversation(
        Shown("t", ({"role": "user", "content": content}, {"role": "assistant", "content": "A"}), media, "a", True)
    )
    (message,) = asked
    picture, text, clip = message["content"]
    assert text == content[1] and picture["image"].data is media[0].data
    assert (clip["video"].data is media[1].data) and clip["video"].rate == 4.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("perception"))


@needs_data
def test_a_model_with_random_weights_is_asked_what_it_can_take(model, monkeypatch):
    monkeypatch.setattr(perception, "has_speech", lambda: False)
    steps = []
    report = score_perception(
        model,
        "tiny",
        parse_families("clothing,spoken_digit,speech"),
        data_root(),
        2,
        on_step=lambda what, done: steps.append((what, done)),
    )
    assert report.scores == (TaskScore("clothing", 0, 2), TaskScore("spoken_digit", 0, 2))
    assert [(left.family, left.why) for left in report.left] == [("speech", "espeak-ng is not installed")]
    assert steps[-1] == ("speech", 4) and ("spoken_digit", 3) in steps


@needs_data
def test_what_a_model_has_no_sense_for_is_told_and_not_counted():
    blind = Model(tiny_transformer(), TOKENIZER)
    report = score_perception(blind, "blind", parse_families("digit,beeps,same_digit"), data_root(), 2)
    assert report.scores == () and [left.why for left in report.left] == [
        "the model has no eyes",
        "the model has no ears",
        "the model has no ears and no eyes",
    ]


def test_a_missing_source_is_one_clear_error(model, tmp_path):
    with pytest.raises(ConfigError, match=r"clothing cannot be asked: .*train.npz: No such file.*PERILUNE_SHARED"):
        score_perception(model, "tiny", parse_families("clothing"), tmp_path, 1)


def test_without_data_the_command_ends_with_one_line(monkeypatch):
    monkeypatch.delenv("PERILUNE_SHARED", raising=False)
    result = CliRunner().invoke(app, ["score", "senses", "--families", "digit"])
    assert result.exit_code == 2 and result.stderr.startswith("perilune: set PERILUNE_SHARED")
    assert result.stderr.count("\n") == 1


@needs_data
def test_the_command_prints_a_table_or_json(model):
    asked = ["score", "senses", "--families", "digit,motion", "--count", "2", "--model", str(model.directory)]
    shown_as = CliRunner().invoke(app, asked)
    assert shown_as.exit_code == 0 and "| digit | sights | 0% | 0% to 66% | 2 |" in shown_as.stdout
    assert '"handwritten digits"' in CliRunner().invoke(app, [*asked, "--json"]).stdout
