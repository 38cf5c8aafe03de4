"""The linear probe: it learns what a line can part, chooses among what is asked, and is what its equations say."""

import os

import numpy as np
import pytest

from perilune.corpus.media import Medium
from perilune.corpus.sources import data_root
from perilune.score import probe
from perilune.score.probe import PROBED, features, fit
from perilune.tasks.shown import Shown

RNG = np.random.default_rng(4)
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def coloured(name: str, question: str = "Which colour?", side: int = 50) -> Shown:
    noise_HWC = RNG.integers(-40, 41, (side, side, 3))
    picture = Medium("image", (noise_HWC + np.array(COLOURS[name])).astype(np.uint8))
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return Shown("test", ({"role": "user", "content": content},), (picture,), name, True)


@pytest.fixture(scope="module")
def fitted():
    return fit([coloured(name) for _ in range(20) for name in COLOURS])


def test_colours_are_told_apart_by_a_line(fitted):
    assert fitted.answers == ("blue", "green", "red")
    assert all(fitted.answer(coloured(name, side=side)) == name for name in COLOURS for side in (20, 50, 90))


def test_of_choices_in_the_question_one_is_taken(fitted):
    assert fitted.answer(coloured("red", "Is this blue or green?")) in ("blue", "green")
    assert fitted.answer(coloured("red", "Is this not blue?")) == "red"


def test_features_are_pixels_in_colour_and_grey_from_zero_to_one():
    white = Shown("test", (), (Medium("image", np.full((70, 40, 3), 255, np.uint8)),), "", True)
    assert features(white).shape == (32 * 32 * 4,) and (features(white) == 1).all()


def test_the_dual_form_is_ridge_regression():
    x_NF, labels_N = RNG.standard_normal((12, 5)), RNG.integers(0, 3, 12)
    made = probe._ridge(x_NF, labels_N, ("a", "b", "c"), 2.0)
    centred_NF, targets_NC = x_NF - x_NF.mean(axis=0), np.eye(3)[labels_N]
    primal_FC = np.linalg.solve(
        centred_NF.T @ centred_NF + 2.0 * np.eye(5), centred_NF.T @ (targets_NC - targets_NC.mean(axis=0))
    )
    np.testing.assert_allclose(made.weights_FC, primal_FC, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no data")
@pytest.mark.parametrize("family", PROBED)
def test_real_pictures_are_probed_the_same_way_each_time(family):
    first, again = (probe.probe(family, data_root(), 10, examples=60) for _ in range(2))
    assert first == again and (first.task, first.total) == (family, 10)
