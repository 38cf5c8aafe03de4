"""From a model's needs and a machine's rates to tokens a second, with the reason.

Decoding one token reads the backbone, and for every layer the experts it chose: from memory those that the cache
holds, from disk the others. Gate and up of experts that have arrived are computed while others are read; what every
token uses, and down, of which an expert is a third, come before and after. A GPU that has room for the whole BF16
backbone holds it, with conversations and, in what is left, experts; it multiplies those beside the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from perilune.api.budget import STREAMED_CHUNK
from perilune.api.gpu import MARGIN_BYTES
from perilune.plan.machine import COMMON_GPU_RATE, Machine
from perilune.plan.needs import Needs

# Share of experts that a recency cache holds → share of uses that it serves: the middle of ten independent reports on
# models with 256 to 896 experts a layer. A trace of one's own is better (perilune bench cache).
HIT_CURVE = ((0.0, 0.0), (0.01, 0.035), (0.05, 0.3), (0.1, 0.5), (0.17, 0.65), (0.27, 0.75), (0.55, 0.9), (0.8, 0.98))
DOWN_SHARE = 1 / 3
# Bytes that pass a GPU's memory for each byte of an expert that it multiplies, counted, not measured: words are read,
# then indices, BF16 and float32 numbers are written and read in turn (weights/int4.py).
GPU_PASSES = 29
FIRST_PROMPT = 1000


@dataclass(frozen=True)
class Prediction:
    """Seconds of one token by what takes them, and what follows. `runs` is False where the model has no room."""

    machine: str
    kept_as: str  # the backbone: "bf16", "int8" or "int4"
    runs: bool
    short: int  # bytes that are missing where it does not run
    cache_share: float
    hit_rate: float
    bytes_read: float  # from disk, for one token
    disk_seconds: float
    backbone_seconds: float
    expert_seconds: float  # on the processor, or on the GPU where that takes longer
    on_gpu: bool  # the backbone
    prefill_rate: float
    first_token: float

    @property
    def seconds(self) -> float:
        opened = self.expert_seconds * (1 - DOWN_SHARE)
        return self.backbone_seconds + max(self.disk_seconds, opened) + self.expert_seconds * DOWN_SHARE

    @property
    def decode_rate(self) -> float:
        return 1 / self.seconds if self.runs and self.seconds else 0.0

    @property
    def bound(self) -> str:
        parts = {"disk": self.disk_seconds, "memory": self.backbone_seconds + self.expert_seconds}
        return max(parts, key=lambda name: parts[name])


def hit_rate(share: float, curve: Sequence[tuple[float, float]] = HIT_CURVE) -> float:
    """Between the points of the curve in straight lines; a cache of everything misses nothing."""
    if share >= 1.0:
        return 1.0
    for (a, low), (b, high) in pairwise((*curve, (1.0, 1.0))):
        if share <= b:
            return low + (high - low) * (share - a) / (b - a)
    return 1.0


def predict(
    needs: Needs, machine: Machine, *, even: bool = False, curve: Sequence[tuple[float, float]] = HIT_CURVE
) -> Prediction:
    """`even`: experts are chosen evenly, as a model of random weights does; then a cache serves what it holds."""
    gpu_room = _gpu_room(needs, machine)
    on_gpu = gpu_room is not None
    fixed = needs.embedding // 8 + needs.work + needs.senses.total + (0 if on_gpu else needs.backbone + needs.context)
    room, held = machine.ram - fixed, gpu_room or 0
    least = needs.expert * needs.per_token

    def served(size: int) -> float:
        """The share of uses that so many bytes of experts serve."""
        return _share(needs, size) if even else hit_rate(_share(needs, size), curve)

    share, hits = _share(needs, room + held), served(room + held)
    read = needs.experts_a_token * (1 - hits)
    experts = needs.experts_a_token * (1 - served(held) if held else 1) / machine.expert_rate
    if held:
        experts = max(experts, needs.experts_a_token * served(held) * GPU_PASSES / machine.gpu_rate)
    chunk = STREAMED_CHUNK
    distinct = needs.distinct(chunk) * needs.moe_layers * needs.expert
    # What a GPU does of a prompt is little beside the experts of the processor.
    sums = 0 if on_gpu else needs.backbone_sums / machine.dense_sums
    sums += needs.per_token * needs.moe_layers * needs.expert_sums / machine.expert_sums
    # A long chunk passes every layer while the next experts are read.
    prefill = chunk / max(chunk * sums, distinct * (1 - share) / machine.reading)
    first = min(FIRST_PROMPT, chunk)
    first_bytes = needs.distinct(first) * needs.moe_layers * needs.expert * (1 - share)
    return Prediction(
        machine=machine.name,
        kept_as=needs.kept_as,
        runs=room >= least,
        short=max(0, least - room),
        cache_share=share,
        hit_rate=hits,
        bytes_read=read,
        disk_seconds=read / machine.reading,
        backbone_seconds=needs.backbone / (machine.gpu_rate if on_gpu else machine.memory_rate),
        expert_seconds=experts,
        on_gpu=on_gpu,
        prefill_rate=prefill,
        first_token=max(first * sums, first_bytes / machine.reading),
    )


def _share(needs: Needs, size: int) -> float:
    """Of all experts, those that so many bytes hold."""
    return min(1.0, max(0, size) / needs.all_experts) if needs.all_experts else 1.0


def _gpu_room(needs: Needs, machine: Machine) -> int | None:
    """Bytes of a GPU that are left for experts; None where it cannot hold the backbone, as published, at all."""
    usable = machine.gpu_ram - MARGIN_BYTES - needs.backbone
    fitting = [usable - beside for beside in needs.gpu_beside if usable >= beside]
    return fitting[0] if fitting and needs.kept_as == "bf16" else None


def best(kinds: Sequence[Needs], machine: Machine, *, even: bool = False) -> tuple[Needs, Prediction]:
    """The first of the same model's `kinds`, most exact backbone first, that runs there; the last where none does."""
    made = [(needs, predict(needs, machine, even=even)) for needs in kinds]
    return next((pair for pair in made if pair[1].runs), made[-1])


def advice(needs: Needs, machine: Machine) -> tuple[str, float]:
    """What to buy next, and how many times faster decoding becomes: the best of twice the memory, a second disk, and
    a GPU for the backbone."""
    now = predict(needs, machine)
    wishes = {
        "twice the memory": replace(machine, ram=2 * machine.ram),
        "one more disk like the one there is": replace(machine, disks=machine.disks + 1),
        "a 24 GB GPU for what every token uses": replace(machine, gpu_ram=24 << 30, gpu_rate=COMMON_GPU_RATE),
    }
    if not now.runs:
        return f"{now.short / 2**30:.0f} GiB more memory; without them this model cannot run here", 0.0
    rates = {name: predict(needs, wish).decode_rate / now.decode_rate for name, wish in wishes.items()}
    best = max(rates, key=lambda name: rates[name])
    return best, rates[best]
