"""The GPU that a model may use, and how its memory is split: what every token uses, conversations, routed experts.

The processor itself can stand in for a GPU, with an amount of memory that is named: the same code runs without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perilune.api.budget import (
    CHUNK_WIDTHS,
    CONTEXT_TOKENS,
    STREAMED_CHUNK,
    context_bytes,
    context_tokens,
    gib,
    moe_layer_count,
    weight_bytes,
)
from perilune.api.locate import parse_bytes
from perilune.config import ModelConfig
from perilune.errors import RequestError, WeightsError
from perilune.weights.device_slots import device_slot_bytes
from perilune.weights.files import Checkpoint

MARGIN_BYTES = 512 << 20  # of what is free: kernels that are loaded later, and gaps between tensors
CONTEXTS = (CONTEXT_TOKENS, CONTEXT_TOKENS // 2, CONTEXT_TOKENS // 4)  # the first that fits, where none is asked for


@dataclass(frozen=True)
class GpuSplit:
    """Bytes of a GPU, as MemorySplit has those of memory; `cache` holds `slots` routed experts."""

    device: torch.device
    budget: int
    backbone: int
    context: int
    work: int
    cache: int
    slots: int
    moe_layers: int
    experts_per_layer: int
    context_tokens: int

    def __str__(self) -> str:
        parts = [f"{gib(self.backbone)} weights that every token uses"]
        if self.slots:
            held = self.slots / max(1, self.moe_layers)
            parts.append(f"{gib(self.cache)} experts ({held:.1f} of {self.experts_per_layer} a layer)")
        parts.append(f"{gib(self.context)} context ({self.context_tokens:,} tokens)")
        parts.append(f"{gib(self.work)} for the work")
        return f"{gpu_name(self.device)} {gib(self.budget)}: " + " · ".join(parts)


def find_device(device: object) -> torch.device:
    """The device of "cuda", "cuda:1" or "cpu"; raises RequestError for others, and where torch sees no such GPU."""
    try:
        found = torch.device(str(device))
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise RequestError(f'device must be "cpu" or a GPU such as "cuda" or "cuda:0", got {str(device)[:40]!r}')
    if found.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = (
            "it finds no card or no driver (see nvidia-smi)"
            if built
            else f"torch {torch.__version__} is built for CPUs"
        )
        raise RequestError(f"no GPU is visible to torch: {why}; leave --gpu out, or install what is missing")
    count, index = torch.cuda.device_count(), found.index or 0
    if index >= count:
        raise RequestError(f"device cuda:{index} is not there: torch sees {count}, the last of them cuda:{count - 1}")
    return torch.device("cuda", index)


def gpu_budget(device: torch.device, gpu_ram: int | str | None) -> int:
    """Bytes of `gpu_ram`, or what the GPU has free but for a margin; raises RequestError for more than that."""
    if device.type == "cpu":
        return parse_bytes(gpu_ram or "")
    free = max(0, torch.cuda.mem_get_info(device)[0] - MARGIN_BYTES)
    asked = free if gpu_ram in (None, "auto") else parse_bytes(gpu_ram)
    if asked > free:
        raise RequestError(f"gpu_ram = {gib(asked)} is more than the {gib(free)} that {gpu_name(device)} has to give")
    return asked


def split_gpu(
    checkpoint: Checkpoint, config: ModelConfig, device: torch.device, budget: int, context: int | None = None
) -> GpuSplit:
    """How `budget` bytes of a GPU are shared out: what is left beside the weights that every token uses and `context`
    tokens of conversations (None: the first of CONTEXTS that fits) holds INT4 experts. Raises WeightsError where
    those weights do not fit."""
    used, choices = weight_bytes(checkpoint, config)[0], CONTEXTS if context is None else (context,)
    needs = {tokens: used + beside_bytes(config, tokens) for tokens in (context_tokens(config, c) for c in choices)}
    tokens = next((tokens for tokens, needed in needs.items() if needed <= budget), min(needs))
    work, kept, room = device_work_bytes(config, tokens), context_bytes(config, tokens), budget - needs[tokens]
    if room < 0:
        raise WeightsError(
            f"gpu_ram = {gib(budget)} is too little: the weights that every token uses take {gib(used)}, the work "
            f"around them {gib(work)}, conversations of {tokens:,} tokens {gib(kept)}; give at least "
            f"{gib(needs[tokens])}, fewer tokens of context, or leave the GPU out"
        )
    moe_layers = moe_layer_count(config)
    slot = device_slot_bytes(config) if config.quantization is not None and moe_layers else 0
    slots = min(room // slot, moe_layers * config.n_routed_experts) if slot else 0
    return GpuSplit(
        device=device,
        budget=budget,
        backbone=used,
        context=kept,
        work=work,
        cache=slots * slot,
        slots=slots,
        moe_layers=moe_layers,
        experts_per_layer=config.n_routed_experts,
        context_tokens=tokens,
    )


def beside_bytes(config: ModelConfig, tokens: int) -> int:
    """Of the work, and of conversations of so many tokens."""
    return device_work_bytes(config, tokens) + context_bytes(config, tokens)


def device_work_bytes(config: ModelConfig, tokens: int) -> int:
    """What the device needs beside weights and conversations of so many tokens: a chunk's hidden states, the keys and
    values (expanded, joined and padded) of all that it attends to, and one matrix of an expert as float32, with the
    half-way forms of it."""
    chunk = 4 * STREAMED_CHUNK * CHUNK_WIDTHS * config.hidden_size
    keys = config.qk_nope_head_dim + config.v_head_dim + 2 * config.qk_head_dim
    expanded = 4 * max(tokens, STREAMED_CHUNK) * config.num_attention_heads * keys
    return chunk + expanded + 16 * config.hidden_size * config.moe_intermediate_size


def gpu_name(device: torch.device) -> str:
    """As its maker calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "processor as a GPU"
