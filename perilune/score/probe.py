"""A linear probe on raw pixels: what a model that sees has to beat.

Ridge regression from small pictures, in colour and in grey, to one output for each answer; fitted to training examples
as a model is trained on, and asked the held-out examples that the model is asked. Of choices that the question names,
it picks among these.

Axes: N examples, F features (SIDE · SIDE · 4), C answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from perilune.score.exact import TaskScore, stands_in
from perilune.tasks.shown import Shown
from perilune.tasks.shown_families import shown

# Families of one picture whose held-out answers stand among those that are trained.
PROBED = ("pictograph_kind", "grocery", "waste")
SIDE = 32
EXAMPLES = 2000  # of the training side, for each family
CHECKED_ONE_IN = 5  # of these choose how strongly weights are held back
STRENGTHS = (1e0, 1e1, 1e2, 1e3, 1e4)


@dataclass(frozen=True, eq=False)
class Probe:
    """Scores of the answers are (features - mean) @ weights + bias."""

    answers: tuple[str, ...]
    mean_F: np.ndarray
    weights_FC: np.ndarray
    bias_C: np.ndarray

    def scores(self, features_NF: np.ndarray) -> np.ndarray:
        return (features_NF - self.mean_F) @ self.weights_FC + self.bias_C

    def answer(self, example: Shown) -> str:
        """The likeliest answer: of those that stand in the question, where at least two do, else of all."""
        scores_C, asked = self.scores(features(example)[None])[0], _question(example)
        named = [i for i, answer in enumerate(self.answers) if stands_in(answer, asked)]
        among = named if len(named) > 1 else range(len(self.answers))
        return self.answers[max(among, key=lambda i: scores_C[i])]


def probe(family: str, root: Path, count: int, examples: int = EXAMPLES) -> TaskScore:
    """A probe fitted to `examples` of the training side of a family, on `count` held-out ones."""
    made = fit([shown(family, seed, False, root) for seed in range(examples)])
    asked = [shown(family, seed, True, root) for seed in range(count)]
    return TaskScore(family, sum(made.answer(example) == example.answer for example in asked), count)


def features(example: Shown) -> np.ndarray:
    """[F], float64 from 0 to 1: the picture SIDE pixels wide and high, red, green, blue and grey."""
    picture = Image.fromarray(example.media[0].data)
    small = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    both = (np.asarray(small).reshape(-1), np.asarray(small.convert("L")).reshape(-1))
    return np.concatenate(both).astype(np.float64) / 255


def fit(examples: Sequence[Shown]) -> Probe:
    """The ridge regression whose strength, of STRENGTHS, gets most right of every fifth example, left out for that."""
    answers = tuple(sorted({example.answer for example in examples}))
    features_NF = np.stack([features(example) for example in examples])
    labels_N = np.array([answers.index(example.answer) for example in examples])
    kept_N = np.arange(len(examples)) % CHECKED_ONE_IN == CHECKED_ONE_IN - 1
    tried = []
    for strength in STRENGTHS:
        scores_NC = _ridge(features_NF[~kept_N], labels_N[~kept_N], answers, strength).scores(features_NF[kept_N])
        tried.append((scores_NC.argmax(axis=1) == labels_N[kept_N]).sum())
    return _ridge(features_NF, labels_N, answers, STRENGTHS[int(np.argmax(tried))])


def _ridge(features_NF: np.ndarray, labels_N: np.ndarray, answers: tuple[str, ...], strength: float) -> Probe:
    """In its dual form, since there are fewer examples than features: w = xᵀ (x xᵀ + strength · 1)⁻¹ y."""
    mean_F = features_NF.mean(axis=0)
    targets_NC = np.eye(len(answers))[labels_N]
    bias_C = targets_NC.mean(axis=0)
    x_NF = features_NF - mean_F
    kernel_NN = x_NF @ x_NF.T
    kernel_NN[np.diag_indices_from(kernel_NN)] += strength
    return Probe(answers, mean_F, x_NF.T @ np.linalg.solve(kernel_NN, targets_NC - bias_C), bias_C)


def _question(example: Shown) -> str:
    content = example.messages[0]["content"]
    assert not isinstance(content, str), "a question about a picture has parts"
    return " ".join(part["text"] for part in content if part["type"] == "text")
