"""The optimiser: Muon for the matrices inside the blocks, AdamW for everything else, one object for both.

A weight is cut into blocks before it is made orthogonal: one block per routed expert, one per attention
head, else the whole matrix. Blocks of the same shape share one batched Newton-Schulz run.
Axes: B blocks, R rows, C columns (R <= C after a turn), * any.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perilune.kernels import where

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NS_STEPS = 5
# Choices of few outputs, or one weight for each channel: nothing to make orthogonal.
SMALL = (
    ".mlp.gate.weight",
    "conv1d.weight",
    ".A_log",
    ".b_proj.weight",
    ".weight_proj.weight",
    ".keep_proj.weight",
    "copy_head.gate_proj.weight",
    ".gate_latent_proj.weight",
    ".point_proj.weight",
    ".begin_proj.weight",
    ".end_proj.weight",
    ".left_proj.weight",
    ".span_proj.weight",
    ".follow_proj.weight",
    ".distance_bias",
    # Tables and taps of the towers.
    ".pos_emb.weight",
    ".patch_embed.proj.weight",
    ".conv1.weight",
    ".conv2.weight",
)
MAX_BATCH_ELEMENTS = 1 << 20  # on a CPU a batch that stays near the second-level cache runs faster than one big one
MAX_BATCH_ON_A_GPU = 1 << 26

Map = Callable[[Callable, Iterable], Iterator]


@torch.no_grad()
def newton_schulz(g_BRC: Tensor) -> Tensor:
    """The nearest orthogonal matrix of each block, roughly: singular values end between 0.7 and 1.2."""
    turned = g_BRC.shape[-2] > g_BRC.shape[-1]
    x_BRC = g_BRC.mT if turned else g_BRC
    x_BRC = x_BRC / (torch.linalg.matrix_norm(x_BRC, keepdim=True) + 1e-7)
    a, b, c = NS_COEFFICIENTS
    for _ in range(NS_STEPS):
        gram_BRR = torch.bmm(x_BRC, x_BRC.mT)
        poly_BRR = torch.baddbmm(gram_BRR, gram_BRR, gram_BRR, beta=b, alpha=c)
        x_BRC = torch.baddbmm(x_BRC, poly_BRR, x_BRC, beta=a)
    return x_BRC.mT if turned else x_BRC


@dataclass(frozen=True)
class Matrix:
    """A weight that Muon trains: `heads` blocks when it is one matrix of several heads."""

    name: str
    weight: nn.Parameter
    heads: int = 1

    @property
    def block(self) -> tuple[int, int]:
        *_, rows, columns = self.weight.shape
        return rows // self.heads, columns

    def blocks(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.block)


class Muon:
    """Momentum made orthogonal, scaled so that its size per element matches AdamW's."""

    def __init__(
        self,
        matrices: list[Matrix],
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        dtype: torch.dtype = torch.float32,
    ):
        """`dtype` is that of the products which make the momentum orthogonal."""
        self.momentum, self.weight_decay, self.dtype = momentum, weight_decay, dtype
        self.matrices = matrices
        self.buffers = {m.name: torch.zeros_like(m.weight) for m in matrices}
        self.batches = list(_batches(matrices))

    @torch.no_grad()
    def step(self, lr: float, run: Map = map) -> None:
        for _ in run(lambda batch: self._step_batch(batch, lr), self.batches):
            pass

    @torch.no_grad()
    def _step_batch(self, batch: list[Matrix], lr: float) -> None:
        updates = []
        for m in batch:
            grad = _gradient(m.weight)
            buffer = self.buffers[m.name].mul_(self.momentum).add_(grad)
            updates.append(m.blocks(grad.add(buffer, alpha=self.momentum)))
        o_BRC = newton_schulz((updates[0] if len(updates) == 1 else torch.cat(updates)).to(self.dtype))
        scale = 0.2 * math.sqrt(max(batch[0].block))
        for m, o in zip(batch, o_BRC.split([u.shape[0] for u in updates]), strict=True):
            m.weight.mul_(1 - lr * self.weight_decay).add_(o.reshape(m.weight.shape), alpha=-lr * scale)


class AdamW:
    """Adam with decoupled weight decay; weights with one axis are not decayed."""

    def __init__(
        self,
        weights: dict[str, nn.Parameter],
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ):
        self.weights, self.betas, self.eps, self.weight_decay = weights, betas, eps, weight_decay
        self.first = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.second = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.steps = 0

    @torch.no_grad()
    def step(self, lr: float, run: Map = map) -> None:
        self.steps += 1
        for _ in run(lambda name: self._step_one(name, lr), self.weights):
            pass

    @torch.no_grad()
    def _step_one(self, name: str, lr: float) -> None:
        weight, (beta1, beta2) = self.weights[name], self.betas
        grad = _gradient(weight)
        first = self.first[name].lerp_(grad, 1 - beta1)
        second = self.second[name].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        spread = (second / (1 - beta2**self.steps)).sqrt_().add_(self.eps)
        if weight.ndim > 1:
            weight.mul_(1 - lr * self.weight_decay)
        weight.addcdiv_(first, spread, value=-lr / (1 - beta1**self.steps))


class Optimizer:
    """Sorts a model's trainable weights into Muon and AdamW and steps them together.

    With an `Executor` the work of one step is spread over its threads; the result is the same bit for bit.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        heads: int,
        weight_decay: float = 0.1,
        adamw_ratio: float = 1.0,
        bfloat16: bool = False,
        executor: Executor | None = None,
    ):
        """`bfloat16` is for the products of Muon alone; weights and all state stay in float32."""
        matrices, rest = sort_weights(model, heads)
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.muon = Muon(matrices, weight_decay=weight_decay, dtype=dtype)
        self.adamw = AdamW(rest, weight_decay=weight_decay)
        self.adamw_ratio = adamw_ratio
        self.parameters = [m.weight for m in matrices] + list(rest.values())
        self.run: Map = executor.map if executor else map

    def step(self, lr: float) -> None:
        self.muon.step(lr, self.run)
        self.adamw.step(lr * self.adamw_ratio, self.run)

    def clip(self, max_norm: float) -> float:
        """Shrink all gradients together when their joint norm is above `max_norm`; the norm before."""
        return float(nn.utils.clip_grad_norm_(self.parameters, max_norm))

    def zero_grad(self) -> None:
        for weight in self.parameters:
            weight.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        """All state as flat named tensors, so that it fits a safetensors file."""
        return {**self._slots(), "adamw.steps": torch.tensor(self.adamw.steps)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        slots = self._slots()
        if set(state) != {*slots, "adamw.steps"}:
            odd = sorted(set(state) ^ {*slots, "adamw.steps"})[:3]
            raise ValueError(f"optimizer state does not belong to this model: {odd}")
        for name, slot in slots.items():
            slot.copy_(state[name])
        self.adamw.steps = int(state["adamw.steps"])

    def _slots(self) -> dict[str, Tensor]:
        muon, adamw = self.muon, self.adamw
        return {
            **{f"muon.{name}": t for name, t in muon.buffers.items()},
            **{f"adamw.first.{name}": t for name, t in adamw.first.items()},
            **{f"adamw.second.{name}": t for name, t in adamw.second.items()},
        }


def sort_weights(model: nn.Module, heads: int) -> tuple[list[Matrix], dict[str, nn.Parameter]]:
    """Muon gets the matrices of the blocks and the memory; embedding, head, routers, gates, taps and vectors go to
    AdamW."""
    matrices, rest = [], {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        outer = name.startswith(("embed_tokens.", "lm_head."))
        if weight.ndim < 2 or outer or name.endswith(SMALL):
            rest[name] = weight
        else:
            per_head = name.endswith((".q_proj.weight", ".q_b_proj.weight", ".kv_b_proj.weight"))
            matrices.append(Matrix(name, weight, heads if per_head else 1))
    return matrices, rest


def _batches(matrices: list[Matrix]) -> Iterator[list[Matrix]]:
    """Matrices with equal blocks in groups of bounded size."""
    by_block: dict[tuple[int, int], list[Matrix]] = {}
    for m in matrices:
        by_block.setdefault(m.block, []).append(m)
    for same in by_block.values():
        most = MAX_BATCH_ELEMENTS if where.on_cpu(same[0].weight) else MAX_BATCH_ON_A_GPU
        batch: list[Matrix] = []
        size = 0
        for m in same:
            if batch and size + m.weight.numel() > most:
                yield batch
                batch, size = [], 0
            batch.append(m)
            size += m.weight.numel()
        yield batch


def _gradient(weight: nn.Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
