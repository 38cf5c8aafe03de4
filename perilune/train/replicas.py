"""Data parallel in one process: a twin of the model for each thread, all reading the same weights.

Two threads with a part of the rows each beat two threads inside every small product, above all when other
programs want the cores: they meet once a step instead of a thousand times. Gradients are added in the order
of the twins, so results do not depend on who finishes first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

from perilune.model.model import Transformer
from perilune.model.moe import Experts
from perilune.weights.int4 import fake_quantize

Result = TypeVar("Result")


class Replicas:
    """`model` keeps the exact weights; twins see them, or the INT4 grid's version of their experts."""

    def __init__(self, model: Transformer, count: int):
        self.model = model
        self.twins = [copy.deepcopy(model) for _ in range(count)]
        self.executor = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self.quantized = [
            (f"{path}.{name}", weight)
            for path, module in model.named_modules()
            if isinstance(module, Experts)
            for name, weight in module.named_parameters()
        ]
        for twin in self.twins:
            for mine, theirs in zip(_tensors(model), _tensors(twin), strict=True):
                theirs.data = mine.data

    def show_quantized(self) -> None:
        """Let the twins compute with experts rounded to the INT4 grid; gradients go to the exact weights."""
        rounded = self.executor.map(lambda item: fake_quantize(item[1].data), self.quantized)
        for (name, _), weight in zip(self.quantized, rounded, strict=True):
            for twin in self.twins:
                twin.get_parameter(name).data = weight

    def run(self, work: Callable[[Transformer, int], Result]) -> list[Result]:
        """`work(twin, index)` for every twin at once, results in their order."""
        return list(self.executor.map(work, self.twins, range(len(self.twins))))

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Add the twins' gradients into the model's and clear them."""
        for weight, *shares in zip(*(m.parameters() for m in (self.model, *self.twins)), strict=True):
            grads = [share.grad for share in shares if share.grad is not None]
            weight.grad = grads[0] if grads else None
            for other in grads[1:]:
                grads[0].add_(other)
            for share in shares:
                share.grad = None

    def close(self) -> None:
        self.executor.shutdown()


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
