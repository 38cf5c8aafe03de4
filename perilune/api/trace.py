"""Routing traces: which experts each token used in each layer, written while a model runs, and read again.

A trace is JSON lines: first what the model is, then one line for each layer that some tokens passed together. It says
nothing of the text. Caches are judged by replaying it (`perilune bench cache`).

Legend: T tokens, K chosen experts a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from perilune.errors import RequestError
from perilune.fields import show_value
from perilune.model.model import Transformer
from perilune.model.moe import MoE

KIND = "perilune routing trace"
MAX_LINE = 64 << 20
MAX_LINES = 50_000_000
WEIGHT_DIGITS = 5


@dataclass(frozen=True)
class Step:
    """The tokens that passed one layer together."""

    layer: int
    experts_TK: np.ndarray


@dataclass(frozen=True)
class Trace:
    experts: int
    per_token: int
    layers: tuple[int, ...]
    steps: list[Step]

    @property
    def tokens(self) -> int:
        return sum(len(step.experts_TK) for step in self.steps if step.layer == self.layers[0])


@contextmanager
def recording(model: Transformer, path: Path) -> Iterator[None]:
    """Within it, whatever the model computes is written down."""
    moes = {i: block.mlp for i, block in enumerate(model.blocks) if isinstance(block.mlp, MoE)}
    if not moes:
        raise RequestError("this model has no routed experts, so there is nothing to trace")
    config = model.config
    head = {"kind": KIND, "experts": config.n_routed_experts, "per_token": config.num_experts_per_tok}
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"the trace cannot be written: {error}") from error
    with file:
        file.write(json.dumps({**head, "layers": sorted(moes)}) + "\n")
        for layer, moe in moes.items():
            moe.observe = partial(_write, file, layer)
        try:
            yield
        finally:
            for moe in moes.values():
                moe.observe = None


def _write(file: IO[str], layer: int, ids_TK: Tensor, weights_TK: Tensor) -> None:
    weights = [[round(w, WEIGHT_DIGITS) for w in row] for row in weights_TK.tolist()]
    line = {"layer": layer, "experts": ids_TK.tolist(), "weights": weights}
    file.write(json.dumps(line, separators=(",", ":")) + "\n")


def read_trace(path: Path) -> Trace:
    """Raises RequestError where the file is not a trace."""
    try:
        with path.open(encoding="utf-8") as file:
            head = _line(file, path, 1)
            experts, per_token, layers = (head.get(name) for name in ("experts", "per_token", "layers"))
            whole = isinstance(experts, int) and isinstance(per_token, int) and isinstance(layers, list) and layers
            if head.get("kind") != KIND or not whole:
                raise RequestError(f"{path.name} is no routing trace; perilune chat --trace FILE writes one")
            steps = []
            for number in range(2, MAX_LINES):
                found = _line(file, path, number)
                if not found:
                    break
                steps.append(_step(found, layers, experts, per_token, f"{path.name}, line {number}"))
            return Trace(experts, per_token, tuple(layers), steps)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the trace cannot be read: {error}") from error


def read_traces(paths: Sequence[Path]) -> Trace:
    """Several traces of one model, one after the other, as if a session had gone on."""
    first, *others = (read_trace(path) for path in paths)
    for path, trace in zip(paths[1:], others, strict=True):
        if (trace.experts, trace.per_token, trace.layers) != (first.experts, first.per_token, first.layers):
            raise RequestError(f"{path.name} is of another model than {paths[0].name}; replay them one by one")
    return replace(first, steps=[step for trace in (first, *others) for step in trace.steps])


def _line(file: IO[str], path: Path, number: int) -> dict[str, Any]:
    text = file.readline(MAX_LINE)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{path.name}, line {number} is not a JSON object")
    return found


def _step(found: dict[str, Any], layers: list[int], experts: int, per_token: int, where: str) -> Step:
    try:
        experts_TK: np.ndarray[tuple[int, ...]] = np.array(found.get("experts"), np.int64)
    except (TypeError, ValueError, OverflowError):
        experts_TK = np.empty((0, 0), np.int64)
    fits = experts_TK.ndim == 2 and experts_TK.shape[1] == per_token and experts_TK.size > 0
    if found.get("layer") not in layers or not fits or experts_TK.min() < 0 or experts_TK.max() >= experts:
        raise RequestError(f"{where}: a step needs a layer of {show_value(layers)} and experts [tokens, {per_token}]")
    return Step(found["layer"], experts_TK)
