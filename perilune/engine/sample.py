"""Logits → the next token, one row at a time, so that nobody else in the batch can change it.

The steps, in this order: repetition penalty (tokens of prompt and reply; positive logits are divided,
negative ones multiplied), presence and frequency penalties (reply only), biases of single tokens, what a grammar
forbids, division by the temperature, top_k, top_p on what is left, min_p relative to the most likely token, and one
uniform number that picks from the rest in id order.
Ties at a border are kept, so the result does not depend on how a sort breaks them.

A logit of -inf means a forbidden token; NaN and +inf are errors of the request they belong to.
Shapes: V vocabulary, C candidates.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np

from perilune.engine.grammar import Constraint
from perilune.engine.types import SamplingParams, Token
from perilune.errors import PeriluneError

Row = np.ndarray
BLOCK = 256


class LogitsError(PeriluneError):
    """The model produced numbers that no token can be chosen from."""


class Sampler:
    """The choice of one request: its parameters, its own random stream and what it has seen so far."""

    def __init__(
        self, params: SamplingParams, prompt_ids: Iterable[int] = (), constraint: Constraint | None = None
    ) -> None:
        self.params = params
        self._constraint = constraint
        # random.Random is the one generator whose stream Python guarantees across versions.
        self._random = random.Random(params.seed)
        self._counts: dict[int, int] = {}
        biased = dict(params.logit_bias)
        self._biased = np.fromiter(biased, np.int64, len(biased))
        self._biases = np.fromiter(biased.values(), np.float32, len(biased))
        self._prompt = frozenset(prompt_ids if params.repetition_penalty != 1.0 else ())

    def __call__(self, logits_V: Row) -> Token:
        """Chooses and remembers one token."""
        token_id = self._choose(logits_V)
        if self._constraint is not None:
            self._constraint.accept(token_id)
        if self.params.has_penalties:
            self._counts[token_id] = self._counts.get(token_id, 0) + 1
        if self.params.logprobs is None:
            return Token(token_id)
        return _with_logprobs(token_id, logits_V, self.params.logprobs)

    def _choose(self, logits_V: Row) -> int:
        params = self.params
        if params.has_penalties:
            logits_V = penalise(logits_V, params, self._prompt, self._counts)
        if self._biased.size:
            logits_V = logits_V.astype(np.float32, copy=True)
            logits_V[self._biased] += self._biases
        if self._constraint is not None:
            logits_V = self._constraint.masked(logits_V)
        best = int(logits_V.argmax())
        # argmax returns the first NaN if there is one, so this one look covers the whole row.
        if not math.isfinite(logits_V[best]):
            raise LogitsError(f"the model returned {logits_V[best]} as a logit; this reply cannot go on")
        if params.temperature == 0.0:
            return best
        return pick(logits_V, params, self._random.random())


def penalise(logits_V: Row, params: SamplingParams, prompt: frozenset[int], counts: dict[int, int]) -> Row:
    """A penalised copy of the logits."""
    logits_V = logits_V.astype(np.float32, copy=True)
    if params.repetition_penalty != 1.0 and (prompt or counts):
        seen = np.fromiter(prompt | counts.keys(), np.int64)
        values = logits_V[seen]
        penalty = np.float32(params.repetition_penalty)
        logits_V[seen] = np.where(values > 0, values / penalty, values * penalty)
    if counts and (params.presence_penalty or params.frequency_penalty):
        made = np.fromiter(counts.keys(), np.int64, len(counts))
        times = np.fromiter(counts.values(), np.float32, len(counts))
        logits_V[made] -= np.float32(params.presence_penalty) + np.float32(params.frequency_penalty) * times
    return logits_V


def pick(logits_V: Row, params: SamplingParams, uniform: float) -> int:
    """The token that `uniform` in [0, 1) falls on; `pick_plain` is its definition."""
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the largest to -inf, as it should
        scaled_V = (logits_V.astype(np.float64) - float(logits_V.max())) / params.temperature
    weights_V = np.exp(scaled_V)
    if 0 < params.top_k < weights_V.size:
        weights_V = _keep(weights_V, np.partition(weights_V, -params.top_k)[-params.top_k])
    if params.top_p < 1.0:
        weights_V = _keep(weights_V, _nucleus_border(weights_V, params.top_p))
    if params.min_p > 0.0:
        weights_V = _keep(weights_V, params.min_p)  # the largest weight is exactly 1
    return _fall_on(weights_V, uniform)


def _keep(weights_V: Row, border: float) -> Row:
    return np.where(weights_V >= border, weights_V, 0.0)


def _fall_on(weights_V: Row, uniform: float) -> int:
    """The id whose share of the mass holds `uniform`: first the block, then the place in it."""
    mass_by_block = np.cumsum(np.add.reduceat(weights_V, np.arange(0, weights_V.size, BLOCK)))
    target = uniform * mass_by_block[-1]
    block = int(np.searchsorted(mass_by_block, target, side="right"))
    if block < mass_by_block.size:
        before = mass_by_block[block - 1] if block else 0.0
        mass = np.cumsum(weights_V[block * BLOCK : (block + 1) * BLOCK])
        place = int(np.searchsorted(mass, target - before, side="right"))
        if place < mass.size:
            return block * BLOCK + place
    # Rounding pushed the target past the end of its block: the last id that is possible up to there.
    return int(np.flatnonzero(weights_V[: (block + 1) * BLOCK])[-1])


def _nucleus_border(weights_V: Row, top_p: float) -> float:
    """The smallest weight inside the nucleus, without sorting the whole vocabulary.

    Weights below (1 - top_p) · total / V sum to less than 1 - top_p of the mass: the nucleus lies above.
    """
    total = weights_V.sum()
    line = (1.0 - top_p) * total / weights_V.size
    sorted_C = np.sort(weights_V[weights_V >= line])[::-1]
    inside = np.searchsorted(np.cumsum(sorted_C), top_p * total, side="left")
    return float(sorted_C[min(inside, sorted_C.size - 1)])


def pick_plain(logits: list[float], params: SamplingParams, uniform: float) -> int:
    """The definition of `pick`, in plain Python."""
    top = max(logits)
    weights = [math.exp((value - top) / params.temperature) for value in logits]
    order = sorted(weights, reverse=True)
    if 0 < params.top_k < len(weights):
        weights = [w if w >= order[params.top_k - 1] else 0.0 for w in weights]
    if params.top_p < 1.0:
        total, mass, border = sum(weights), 0.0, 0.0
        for border in sorted(weights, reverse=True):
            mass += border
            if mass >= params.top_p * total:
                break
        weights = [w if w >= border else 0.0 for w in weights]
    weights = [w if w >= params.min_p else 0.0 for w in weights]
    target, mass, last = uniform * sum(weights), 0.0, 0
    for token_id, weight in enumerate(weights):
        if weight == 0.0:
            continue
        mass, last = mass + weight, token_id
        if mass > target:
            break
    return last


def log_softmax(logits_V: Row) -> Row:
    shifted_V = logits_V.astype(np.float64) - float(logits_V.max())
    return shifted_V - math.log(np.exp(shifted_V).sum())


def _with_logprobs(token_id: int, logits_V: Row, top: int) -> Token:
    """The token with the model's own log-probabilities, most likely first, ties by id."""
    logprobs_V = log_softmax(logits_V)
    best: tuple[tuple[int, float], ...] = ()
    if top:
        border = np.partition(logprobs_V, -min(top, logprobs_V.size))[-min(top, logprobs_V.size)]
        ids = np.flatnonzero(logprobs_V >= border).tolist()
        ids.sort(key=lambda i: (-logprobs_V[i], i))
        best = tuple((i, float(logprobs_V[i])) for i in ids[:top])
    return Token(token_id, float(logprobs_V[token_id]), best)
